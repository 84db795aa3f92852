-- Takes the write lock at once: a transaction that reads first and writes later could deadlock with another like it.
BEGIN IMMEDIATE;
