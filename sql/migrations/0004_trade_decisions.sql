-- What was decided about each analysed butterfly, on which track, by which model, from which data.
-- A missing value is NULL, never 0; a version or content that does not apply is NULL too.
CREATE TABLE trade_decisions (
    session               TIMESTAMP NOT NULL, -- midnight of its date
    ticker                TEXT NOT NULL,
    track                 TEXT NOT NULL CHECK (track IN ('ai', 'baseline', 'blend')),
    decided_by            TEXT NOT NULL,      -- model_version, or 'baseline' where no model took part
    route                 TEXT NOT NULL CHECK (route IN ('champion', 'challenger')),
    rank                  INTEGER CHECK (rank > 0), -- 1 is best of its session and track; NULL: not ranked
    selected              INTEGER NOT NULL CHECK (selected IN (0, 1)),
    passes_document_gate  INTEGER CHECK (passes_document_gate IN (0, 1)), -- over threshold_document
    passes_gate           INTEGER CHECK (passes_gate IN (0, 1)), -- expected_roi_training over threshold_chosen
    p0                    DOUBLE PRECISION,   -- probabilities of loss, small, good, excellent; 0 .. 1
    p1                    DOUBLE PRECISION,
    p2                    DOUBLE PRECISION,
    p3                    DOUBLE PRECISION,
    expected_roi_document DOUBLE PRECISION,   -- ratio, with the class values of the source document
    expected_roi_training DOUBLE PRECISION,   -- ratio, with the class means of the training rows
    threshold_document    DOUBLE PRECISION,   -- ratio
    threshold_chosen      DOUBLE PRECISION,   -- ratio; NULL: nothing is to be taken
    total_score           DOUBLE PRECISION,   -- 0 .. 100
    blend_score           DOUBLE PRECISION,   -- 0 .. 100
    model_version         TEXT,
    calibration_version   TEXT,
    training_content      TEXT,
    analysis_content      TEXT,
    bars_content          TEXT,
    reason                TEXT NOT NULL,
    PRIMARY KEY (session, ticker, track, decided_by),
    CHECK (decided_by = COALESCE(model_version, 'baseline'))
);

CREATE INDEX trade_decisions_ticker ON trade_decisions (ticker, session);
CREATE INDEX trade_decisions_model ON trade_decisions (model_version);

-- What became of an analysed butterfly at its evaluation session; no row until that is known.
CREATE TABLE decision_outcomes (
    session            TIMESTAMP NOT NULL, -- midnight of its date
    ticker             TEXT NOT NULL,
    evaluation_session TIMESTAMP NOT NULL CHECK (evaluation_session > session),
    roi_mark           DOUBLE PRECISION,   -- ratio
    roi_net            DOUBLE PRECISION,   -- ratio, after costs
    label              INTEGER CHECK (label BETWEEN 0 AND 3),
    PRIMARY KEY (session, ticker)
);

CREATE INDEX decision_outcomes_known ON decision_outcomes (evaluation_session);
