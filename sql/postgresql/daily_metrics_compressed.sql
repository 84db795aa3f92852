-- Whether daily_metrics is compressed already.
SELECT compression_enabled FROM timescaledb_information.hypertables WHERE hypertable_name = 'daily_metrics';
