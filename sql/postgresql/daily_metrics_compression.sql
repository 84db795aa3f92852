-- Runs once, after daily_metrics_hypertable, and only where the licence of timescaledb allows.
-- Chunks are compressed once they are two years old: scans of the recent months are written anew at each retraining.
ALTER TABLE daily_metrics SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'ticker',
    timescaledb.compress_orderby = 'time DESC'
);

SELECT add_compression_policy('daily_metrics', INTERVAL '2 years', if_not_exists => TRUE);
