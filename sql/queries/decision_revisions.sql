-- What decisions of a span of sessions, both ends included, said before they were changed or withdrawn, oldest first.
-- returns: session timestamp, ticker text, track text, decided_by text, said_since timestamp, superseded_at timestamp
-- returns: withdrawn_reason text, timing text, route text, rank integer, selected integer
-- returns: passes_document_gate integer, passes_gate integer
-- returns: p0 double, p1 double, p2 double, p3 double, expected_roi_document double, expected_roi_training double
-- returns: threshold_document double, threshold_chosen double, total_score double, blend_score double
-- returns: calibration_version text, training_content text, analysis_content text, bars_content text, reason text
SELECT
    session, ticker, track, decided_by, said_since, superseded_at, withdrawn_reason, timing, route, rank, selected,
    passes_document_gate, passes_gate, p0, p1, p2, p3, expected_roi_document, expected_roi_training, threshold_document,
    threshold_chosen, total_score, blend_score, calibration_version, training_content, analysis_content,
    bars_content, reason
FROM decision_revisions
WHERE session BETWEEN :first AND :last
ORDER BY session, ticker, track, decided_by, superseded_at;
