-- Say that the warehouse holds the rows of a partition.
-- key: asset, partition_key
INSERT INTO warehouse_receipts (asset, partition_key, content) VALUES (:asset, :partition_key, :content)
ON CONFLICT (asset, partition_key) DO UPDATE SET content = excluded.content;
