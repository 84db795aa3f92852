-- Retrains that were asked for and given up: every attempt failed. Their reasons may call for a retrain again.
-- Append-only: no query of the project changes or removes a row.
CREATE TABLE retrain_failures (
    event_id TEXT NOT NULL PRIMARY KEY, -- of retrain_events
    at       TIMESTAMP NOT NULL,        -- naive UTC: when the last attempt was seen to have failed
    attempts INTEGER NOT NULL CHECK (attempts >= 1)
);
