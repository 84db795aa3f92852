-- Say that the warehouse may hold other rows of a partition than those of its receipt: they are being written.
DELETE FROM warehouse_receipts WHERE asset = :asset AND partition_key = :partition_key;
