-- Every version of the tables that judged a recorded signal, found by the versions the signal names.
-- Insert-only: no query of the project changes or removes a row, whatever is learned anew from a corrected history.

-- What confidence meant: buckets, blocks of the isotonic curve, or what a first rung says.
CREATE TABLE calibration_versions (
    version     TEXT NOT NULL, -- hash of the content
    place       INTEGER NOT NULL CHECK (place >= 0), -- order of the row
    method      TEXT NOT NULL, -- rung of the ladder
    lower       DOUBLE PRECISION NOT NULL, -- confidence, points
    upper       DOUBLE PRECISION NOT NULL,
    trades      INTEGER NOT NULL CHECK (trades >= 0),
    hits        DOUBLE PRECISION NOT NULL, -- open trades in parts
    p_target    DOUBLE PRECISION NOT NULL, -- 0 .. 1
    level       TEXT NOT NULL, -- how far it can be trusted
    p_timeout   DOUBLE PRECISION NOT NULL, -- 0 .. 1
    timeout_bps DOUBLE PRECISION NOT NULL,
    prior       DOUBLE PRECISION NOT NULL, -- 0 .. 1
    all_trades  INTEGER NOT NULL CHECK (all_trades >= 0),
    open_trades INTEGER NOT NULL CHECK (open_trades >= 0),
    as_of       TIMESTAMP, -- naive UTC; NULL: from no data
    PRIMARY KEY (version, place)
);

-- What a trade was expected to cost.
CREATE TABLE cost_versions (
    version       TEXT NOT NULL, -- hash of the content
    coin          TEXT NOT NULL, -- '*': every coin without a row
    used_bps      DOUBLE PRECISION NOT NULL CHECK (used_bps >= 0), -- fees, half-spreads, slippage of both sides
    holding_hours DOUBLE PRECISION NOT NULL CHECK (holding_hours > 0), -- for which funding was expected
    as_of         TIMESTAMP, -- naive UTC; NULL: from no data
    PRIMARY KEY (version, coin)
);

-- What the four gates asked for.
CREATE TABLE threshold_versions (
    version       TEXT NOT NULL PRIMARY KEY, -- hash of the content
    minimum_bars  DOUBLE PRECISION NOT NULL,
    f_directional DOUBLE PRECISION NOT NULL, -- points
    independence  DOUBLE PRECISION NOT NULL, -- points
    regime        DOUBLE PRECISION NOT NULL, -- points
    ev_bps        DOUBLE PRECISION NOT NULL,
    as_of         TIMESTAMP -- when they were chosen, naive UTC; NULL: from no data
);
