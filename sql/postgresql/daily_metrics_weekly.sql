-- Runs after daily_metrics_hypertable, and only where the licence of timescaledb allows. Safe to repeat.
-- One row per week and ticker. It is filled by the policy; what that has not reached yet is computed when asked for.
CREATE MATERIALIZED VIEW IF NOT EXISTS daily_metrics_weekly
WITH (timescaledb.continuous = TRUE, timescaledb.materialized_only = FALSE) AS
SELECT
    time_bucket(INTERVAL '7 days', time) AS week, -- Monday
    ticker,
    count(*) AS sessions,
    avg(total_score) AS total_score,
    max(total_score) AS total_score_high,
    avg(current_iv) AS current_iv,
    avg(predicted_vol) AS predicted_vol,
    avg(ml_success_prob) AS ml_success_prob,
    avg(expected_roi) AS expected_roi
FROM daily_metrics
GROUP BY week, ticker
WITH NO DATA;

SELECT add_continuous_aggregate_policy(
    'daily_metrics_weekly',
    start_offset => NULL,
    end_offset => INTERVAL '7 days',
    schedule_interval => INTERVAL '1 day',
    if_not_exists => TRUE
);
