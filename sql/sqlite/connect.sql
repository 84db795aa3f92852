-- Session settings of every connection. With a write-ahead log readers do not wait for the writer.
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = ON;
