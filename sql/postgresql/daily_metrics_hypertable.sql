-- Runs after the migrations, and only where the timescaledb extension has been created in the database. Safe to repeat.
SELECT create_hypertable(
    'daily_metrics', 'time',
    chunk_time_interval => INTERVAL '1 year',
    if_not_exists => TRUE,
    migrate_data => TRUE
);
