-- Rows of a span of sessions, both ends included, whose score exceeds a minimum (50 unless a user says otherwise).
-- returns: time timestamp, ticker text, current_price double, trend_direction text, trend_slope double
-- returns: dominant_period double, predicted_price double, prediction_lower double, prediction_upper double, price_stability double
-- returns: predicted_vol double, current_iv double, vol_mispricing double, iv_percentile double, delta double
-- returns: gamma double, vega double, theta double, butterfly_type text, max_profit double
-- returns: max_loss double, profit_ratio double, prob_profit double, total_score double, recommendation text
-- returns: ml_success_prob double, expected_roi double, model_version text
SELECT
    time, ticker, current_price, trend_direction, trend_slope, dominant_period, predicted_price,
    prediction_lower, prediction_upper, price_stability, predicted_vol, current_iv, vol_mispricing,
    iv_percentile, delta, gamma, vega, theta, butterfly_type, max_profit, max_loss, profit_ratio,
    prob_profit, total_score, recommendation, ml_success_prob, expected_roi, model_version
FROM daily_metrics
WHERE time BETWEEN :first AND :last AND total_score > :minimum_score
ORDER BY time, ticker;
