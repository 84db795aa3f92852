-- Why the models were retrained, or why a reason to retrain led to nothing: one row per event and reason.
-- Append-only: no query of the project changes or removes a row.
CREATE TABLE retrain_events (
    event_id   TEXT NOT NULL,
    at         TIMESTAMP NOT NULL, -- naive UTC
    kind       TEXT NOT NULL CHECK (kind IN ('update', 'full')),
    outcome    TEXT NOT NULL CHECK (outcome IN ('requested', 'nothing_new')),
    rows_added INTEGER NOT NULL CHECK (rows_added >= 0), -- feedback rows taken for it
    reason     TEXT NOT NULL,      -- feature_drift, prediction_drift, calibration_decay, decision_decay, code, weekly ...
    occasion   TEXT NOT NULL,      -- the month, or the version of the code, that the reason is about
    figures    TEXT NOT NULL,      -- JSON object: what was measured
    text       TEXT NOT NULL,      -- one sentence
    PRIMARY KEY (event_id, reason, occasion)
);

CREATE INDEX retrain_events_at ON retrain_events (at);
