-- The signal recorder: what was signalled, how it was executed, what came of it. A missing value is NULL, never 0.

-- What was known of a signal when its bar closed, and what was decided.
CREATE TABLE signal_snapshots (
    signal_id            TEXT NOT NULL PRIMARY KEY, -- coin@hour
    hour                 TIMESTAMP NOT NULL, -- open of the last closed bar, naive UTC
    known_at             TIMESTAMP NOT NULL, -- its close
    coin                 TEXT NOT NULL,
    side                 TEXT NOT NULL CHECK (side IN ('long', 'short')),
    score                DOUBLE PRECISION NOT NULL, -- points, -100 .. 100
    confidence           DOUBLE PRECISION NOT NULL, -- points, 0 .. 100
    factor_t             DOUBLE PRECISION, -- points; NULL: the factor is missing
    factor_m             DOUBLE PRECISION,
    factor_c             DOUBLE PRECISION,
    factor_v             DOUBLE PRECISION,
    factor_o             DOUBLE PRECISION,
    factor_b             DOUBLE PRECISION,
    factor_f             DOUBLE PRECISION,
    factor_i             DOUBLE PRECISION,
    market_regime        DOUBLE PRECISION,
    flags                TEXT NOT NULL, -- words on proxies and missing factors
    price                DOUBLE PRECISION, -- close of the bar, USD
    atr14                DOUBLE PRECISION, -- USD
    funding_8h           DOUBLE PRECISION, -- ratio a long pays per 8 h
    closed_bars          INTEGER NOT NULL CHECK (closed_bars >= 0),
    defect               INTEGER NOT NULL CHECK (defect IN (0, 1)), -- a data defect in the window
    p_target             DOUBLE PRECISION, -- predicted, 0 .. 1
    p_stop               DOUBLE PRECISION,
    p_timeout            DOUBLE PRECISION,
    target_bps           DOUBLE PRECISION, -- distance from the entry
    stop_bps             DOUBLE PRECISION,
    expected_cost_bps    DOUBLE PRECISION NOT NULL, -- fees, half-spreads, slippage of both sides
    expected_funding_bps DOUBLE PRECISION, -- positive is paid
    ev_bps               DOUBLE PRECISION,
    calibrated           INTEGER NOT NULL CHECK (calibrated IN (0, 1)), -- 0: for paper only
    gate_data            INTEGER NOT NULL CHECK (gate_data IN (0, 1)), -- 1: lets it pass
    gate_fund            INTEGER NOT NULL CHECK (gate_fund IN (0, 1)),
    gate_market          INTEGER NOT NULL CHECK (gate_market IN (0, 1)),
    gate_ev              INTEGER NOT NULL CHECK (gate_ev IN (0, 1)),
    verdict              TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected')),
    reason               TEXT NOT NULL, -- of the first gate that rejects; empty: accepted
    calibration_version  TEXT NOT NULL, -- what judged it
    cost_version         TEXT NOT NULL,
    threshold_version    TEXT NOT NULL
);

CREATE INDEX signal_snapshots_hour ON signal_snapshots (hour);
CREATE INDEX signal_snapshots_coin ON signal_snapshots (coin, hour);
CREATE INDEX signal_snapshots_confidence ON signal_snapshots (confidence);

-- How a signal was executed, on paper or at an exchange.
CREATE TABLE execution_records (
    signal_id     TEXT NOT NULL REFERENCES signal_snapshots (signal_id),
    mode          TEXT NOT NULL CHECK (mode IN ('paper', 'live')),
    track         TEXT NOT NULL CHECK (track IN ('accepted', 'busy', 'rejected')), -- busy: the coin had a trade
    entry_at      TIMESTAMP NOT NULL, -- naive UTC
    entry_price   DOUBLE PRECISION NOT NULL, -- open of the bar of entry, USD
    entry_fill    DOUBLE PRECISION NOT NULL, -- price paid or got, USD
    spread_bps    DOUBLE PRECISION NOT NULL, -- half-spreads of both sides so far or as marked
    spread_known  INTEGER NOT NULL CHECK (spread_known IN (0, 1)), -- from books
    slippage_bps  DOUBLE PRECISION NOT NULL, -- of both sides
    fee_bps       DOUBLE PRECISION NOT NULL, -- of both sides
    paid_cost_bps DOUBLE PRECISION NOT NULL, -- all of these
    PRIMARY KEY (signal_id, mode)
);

CREATE INDEX execution_records_entry ON execution_records (entry_at);

-- What came of it; an open trade is marked to the market until it ends.
CREATE TABLE trade_results (
    signal_id        TEXT NOT NULL REFERENCES signal_snapshots (signal_id),
    mode             TEXT NOT NULL CHECK (mode IN ('paper', 'live')),
    known_at         TIMESTAMP NOT NULL, -- when this was known, naive UTC
    status           TEXT NOT NULL CHECK (status IN ('closed', 'open')), -- open: at its mark
    outcome          TEXT NOT NULL CHECK (outcome IN ('win', 'loss', 'breakeven', 'open')),
    exit_reason      TEXT NOT NULL CHECK (exit_reason IN ('target', 'stop', 'timeout', 'open')),
    exit_at          TIMESTAMP NOT NULL, -- of an open trade the time of its mark
    exit_price       DOUBLE PRECISION NOT NULL, -- USD
    exit_fill        DOUBLE PRECISION NOT NULL, -- USD
    held_hours       DOUBLE PRECISION NOT NULL CHECK (held_hours >= 0),
    gross_bps        DOUBLE PRECISION NOT NULL, -- before costs
    gap_bps          DOUBLE PRECISION NOT NULL, -- worse than at the stop
    paid_funding_bps DOUBLE PRECISION NOT NULL, -- negative is received
    settlements      INTEGER NOT NULL CHECK (settlements >= 0),
    funding_known    INTEGER NOT NULL CHECK (funding_known IN (0, 1)), -- all settlements are known
    pnl_bps          DOUBLE PRECISION NOT NULL, -- after costs and funding
    pnl_usd          DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (signal_id, mode)
);

CREATE INDEX trade_results_known ON trade_results (known_at);
CREATE INDEX trade_results_outcome ON trade_results (outcome);
