-- Of the baseline's decisions the figures of the model that happened to serve go: the row does not name that model, and
-- with every other one it would seem to say something else.
UPDATE trade_decisions SET
    p0 = NULL, p1 = NULL, p2 = NULL, p3 = NULL, expected_roi_document = NULL, expected_roi_training = NULL,
    threshold_chosen = NULL, passes_document_gate = NULL, passes_gate = NULL, blend_score = NULL,
    calibration_version = NULL, training_content = NULL
WHERE decided_by = 'baseline';

-- What a decision said before a correction changed or withdrew it; decisions made afterwards (replays) are not kept,
-- they are made again with every model. Append-only; the next migration has the database write it.
CREATE TABLE decision_revisions (
    session               TIMESTAMP NOT NULL,
    ticker                TEXT NOT NULL,
    track                 TEXT NOT NULL,
    decided_by            TEXT NOT NULL,
    superseded_at         TIMESTAMP NOT NULL, -- naive UTC
    said_since            TIMESTAMP,          -- naive UTC; NULL: of a decision whose time is not known
    withdrawn_reason      TEXT,               -- why it was withdrawn then; NULL: it was changed
    timing                TEXT,               -- of the decision, as it was first written
    route                 TEXT NOT NULL,
    rank                  INTEGER,
    selected              INTEGER NOT NULL,
    passes_document_gate  INTEGER,
    passes_gate           INTEGER,
    p0                    DOUBLE PRECISION,
    p1                    DOUBLE PRECISION,
    p2                    DOUBLE PRECISION,
    p3                    DOUBLE PRECISION,
    expected_roi_document DOUBLE PRECISION,
    expected_roi_training DOUBLE PRECISION,
    threshold_document    DOUBLE PRECISION,
    threshold_chosen      DOUBLE PRECISION,
    total_score           DOUBLE PRECISION,
    blend_score           DOUBLE PRECISION,
    calibration_version   TEXT,
    training_content      TEXT,
    analysis_content      TEXT,
    bars_content          TEXT,
    reason                TEXT NOT NULL
);

CREATE INDEX decision_revisions_decision ON decision_revisions (session, ticker, track, decided_by, superseded_at);

-- Everything that was ever said, with the time it stood (naive UTC, said_until NULL: it stands). What stood just before a
-- moment is said_since < moment AND (said_until IS NULL OR said_until >= moment). A replay has no former versions.
CREATE VIEW decision_versions AS
SELECT
    session, ticker, track, decided_by, COALESCE(revised_at, decided_at) AS said_since,
    CAST(NULL AS TIMESTAMP) AS said_until, timing, route, rank, selected, p0, p1, p2, p3, expected_roi_document,
    expected_roi_training, threshold_document, threshold_chosen, total_score, blend_score, reason
FROM trade_decisions
WHERE withdrawn_at IS NULL
UNION ALL
SELECT
    session, ticker, track, decided_by, said_since, superseded_at, timing, route, rank, selected, p0, p1, p2, p3,
    expected_roi_document, expected_roi_training, threshold_document, threshold_chosen, total_score, blend_score, reason
FROM decision_revisions;
