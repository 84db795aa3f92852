-- Write analyses of sessions; a row that exists is replaced.
-- key: time, ticker
INSERT INTO daily_metrics (
    time, ticker, current_price, trend_direction, trend_slope, dominant_period, predicted_price,
    prediction_lower, prediction_upper, price_stability, predicted_vol, current_iv, vol_mispricing,
    iv_percentile, delta, gamma, vega, theta, butterfly_type, max_profit, max_loss, profit_ratio,
    prob_profit, total_score, recommendation, ml_success_prob, expected_roi, model_version
) VALUES (
    :time, :ticker, :current_price, :trend_direction, :trend_slope, :dominant_period, :predicted_price,
    :prediction_lower, :prediction_upper, :price_stability, :predicted_vol, :current_iv, :vol_mispricing,
    :iv_percentile, :delta, :gamma, :vega, :theta, :butterfly_type, :max_profit, :max_loss, :profit_ratio,
    :prob_profit, :total_score, :recommendation, :ml_success_prob, :expected_roi, :model_version
)
ON CONFLICT (time, ticker) DO UPDATE SET
    current_price = excluded.current_price,
    trend_direction = excluded.trend_direction,
    trend_slope = excluded.trend_slope,
    dominant_period = excluded.dominant_period,
    predicted_price = excluded.predicted_price,
    prediction_lower = excluded.prediction_lower,
    prediction_upper = excluded.prediction_upper,
    price_stability = excluded.price_stability,
    predicted_vol = excluded.predicted_vol,
    current_iv = excluded.current_iv,
    vol_mispricing = excluded.vol_mispricing,
    iv_percentile = excluded.iv_percentile,
    delta = excluded.delta,
    gamma = excluded.gamma,
    vega = excluded.vega,
    theta = excluded.theta,
    butterfly_type = excluded.butterfly_type,
    max_profit = excluded.max_profit,
    max_loss = excluded.max_loss,
    profit_ratio = excluded.profit_ratio,
    prob_profit = excluded.prob_profit,
    total_score = excluded.total_score,
    recommendation = excluded.recommendation,
    ml_success_prob = excluded.ml_success_prob,
    expected_roi = excluded.expected_roi,
    model_version = excluded.model_version;
