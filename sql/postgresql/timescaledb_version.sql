-- Version of the extension and the licence of the build: 'timescale', or 'apache' without compression and aggregates.
SELECT extversion, current_setting('timescaledb.license', TRUE) AS license
FROM pg_extension
WHERE extname = 'timescaledb';
