-- Every model version that was ever trained and judged, with the evidence. The files lie in the model store.
CREATE TABLE model_registry (
    model            TEXT NOT NULL,
    version          TEXT NOT NULL, -- content hash of the stored model
    role             TEXT NOT NULL CHECK (role IN ('challenger', 'champion', 'refused')),
    label            TEXT NOT NULL, -- label column the model was trained on
    onnx_sha256      TEXT NOT NULL,
    training_content TEXT NOT NULL, -- content hash of the training set
    code_version     TEXT NOT NULL,
    metrics          TEXT NOT NULL, -- JSON object
    published_at     TIMESTAMP,     -- naive UTC, NULL unless the publisher says when
    PRIMARY KEY (model, version)
);

-- At most one version of a model is in service.
CREATE UNIQUE INDEX model_registry_champion ON model_registry (model) WHERE role = 'champion';
