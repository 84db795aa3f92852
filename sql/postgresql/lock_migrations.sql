-- Two processes that migrate at once take turns; released when the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('butterquant_schema_migrations'));
