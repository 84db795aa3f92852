-- Decisions of a span of sessions, both ends included; withdrawn ones too, which are not selected any more.
-- returns: session timestamp, ticker text, track text, route text, rank integer, selected integer
-- returns: passes_document_gate integer, passes_gate integer, p0 double, p1 double, p2 double, p3 double
-- returns: expected_roi_document double, expected_roi_training double, threshold_document double
-- returns: threshold_chosen double, total_score double, blend_score double, model_version text
-- returns: calibration_version text, training_content text, analysis_content text, bars_content text, reason text
-- returns: decided_at timestamp, timing text, first_selected integer, revised_at timestamp, withdrawn_at timestamp
-- returns: withdrawn_reason text
SELECT
    session, ticker, track, route, rank, selected, passes_document_gate, passes_gate, p0, p1, p2, p3,
    expected_roi_document, expected_roi_training, threshold_document, threshold_chosen, total_score,
    blend_score, model_version, calibration_version, training_content, analysis_content, bars_content, reason,
    decided_at, timing, first_selected, revised_at, withdrawn_at, withdrawn_reason
FROM trade_decisions
WHERE session BETWEEN :first AND :last
ORDER BY session, ticker, track, decided_by;
