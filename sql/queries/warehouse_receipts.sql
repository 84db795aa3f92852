-- What of the lake the warehouse holds.
-- returns: asset text, partition_key text, content text
SELECT asset, partition_key, content FROM warehouse_receipts ORDER BY asset, partition_key;
