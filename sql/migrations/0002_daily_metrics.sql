-- One row per session and ticker: the as-of analysis and what the model in service says about it.
-- A missing value is NULL, never 0.
CREATE TABLE daily_metrics (
    time              TIMESTAMP NOT NULL, -- session, midnight of its date
    ticker            TEXT NOT NULL,
    current_price     DOUBLE PRECISION,   -- USD, as quoted
    trend_direction   TEXT,               -- UP, DOWN, FLAT
    trend_slope       DOUBLE PRECISION,   -- % per session
    dominant_period   DOUBLE PRECISION,   -- sessions
    predicted_price   DOUBLE PRECISION,   -- USD, mean of the 30-step forecast
    prediction_lower  DOUBLE PRECISION,   -- USD, 95 % band
    prediction_upper  DOUBLE PRECISION,   -- USD, 95 % band
    price_stability   DOUBLE PRECISION,
    predicted_vol     DOUBLE PRECISION,   -- per year
    current_iv        DOUBLE PRECISION,   -- per year
    vol_mispricing    DOUBLE PRECISION,
    iv_percentile     DOUBLE PRECISION,   -- 0 .. 1
    delta             DOUBLE PRECISION,
    gamma             DOUBLE PRECISION,
    vega              DOUBLE PRECISION,   -- per volatility point
    theta             DOUBLE PRECISION,   -- per calendar day
    butterfly_type    TEXT,               -- CALL, PUT, IRON
    max_profit        DOUBLE PRECISION,
    max_loss          DOUBLE PRECISION,
    profit_ratio      DOUBLE PRECISION,
    prob_profit       DOUBLE PRECISION,   -- 0 .. 1
    total_score       DOUBLE PRECISION,   -- 0 .. 100
    recommendation    TEXT,               -- STRONG_BUY, BUY, NEUTRAL, AVOID
    ml_success_prob   DOUBLE PRECISION,   -- 0 .. 1
    expected_roi      DOUBLE PRECISION,   -- ratio
    model_version     TEXT,
    PRIMARY KEY (time, ticker)
);

CREATE INDEX daily_metrics_ticker ON daily_metrics (ticker, time);
