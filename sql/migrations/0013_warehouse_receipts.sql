-- What of the lake the warehouse holds: a database older than the home lacks receipts, and what they stand for is written
-- again.
CREATE TABLE warehouse_receipts (
    asset          TEXT NOT NULL,
    partition_key  TEXT NOT NULL, -- month or day; empty for an asset without partitions
    content        TEXT NOT NULL, -- hash of what the rows were made from and by
    PRIMARY KEY (asset, partition_key)
);
