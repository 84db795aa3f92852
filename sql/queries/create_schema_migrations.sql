-- Where applied migrations are recorded.
CREATE TABLE IF NOT EXISTS schema_migrations (
    number   INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    checksum TEXT NOT NULL -- sha256 of the file
);
