-- What happened to each model version, and why: the history that roles alone do not tell.
-- A former champion is retired, no challenger. Neither dialect can widen a CHECK alike, so the table is made anew.
CREATE TABLE model_registry_with_retirement (
    model            TEXT NOT NULL,
    version          TEXT NOT NULL, -- content hash of the stored model
    role             TEXT NOT NULL CHECK (role IN ('challenger', 'champion', 'refused', 'retired')),
    label            TEXT NOT NULL, -- label column the model was trained on
    onnx_sha256      TEXT NOT NULL,
    training_content TEXT NOT NULL, -- content hash of the training set
    code_version     TEXT NOT NULL,
    metrics          TEXT NOT NULL, -- JSON object
    published_at     TIMESTAMP,     -- naive UTC, NULL unless the publisher says when
    PRIMARY KEY (model, version)
);

INSERT INTO model_registry_with_retirement (
    model, version, role, label, onnx_sha256, training_content, code_version, metrics, published_at
)
SELECT model, version, role, label, onnx_sha256, training_content, code_version, metrics, published_at
FROM model_registry;

DROP TABLE model_registry;

ALTER TABLE model_registry_with_retirement RENAME TO model_registry;

-- At most one version of a model is in service.
CREATE UNIQUE INDEX model_registry_champion ON model_registry (model) WHERE role = 'champion';

-- Append-only: no query of the project updates or deletes a row. Each event_id is a hash over the row and the event_id
-- before it, so a row that was altered, removed or slipped in later is noticed.
CREATE TABLE model_events (
    model            TEXT NOT NULL,
    sequence         INTEGER NOT NULL CHECK (sequence > 0), -- 1, 2, 3 ... of this model, without a gap
    at               TIMESTAMP NOT NULL,                    -- naive UTC
    version          TEXT NOT NULL,                         -- the version concerned; of a rollback, the one restored
    action           TEXT NOT NULL CHECK (action IN ('registered', 'judged', 'promoted', 'refused', 'rolled_back')),
    previous_version TEXT,                                  -- champion when it happened, NULL where there was none
    actor            TEXT NOT NULL,                         -- who or what did it
    reason           TEXT NOT NULL,                         -- one sentence
    evidence         TEXT NOT NULL,                         -- JSON object
    event_id         TEXT NOT NULL UNIQUE,
    PRIMARY KEY (model, sequence),
    FOREIGN KEY (model, version) REFERENCES model_registry (model, version)
);
