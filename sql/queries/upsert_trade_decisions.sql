-- Write decisions; one that exists is replaced, and stands again if it was withdrawn. decided_at is now: it and timing
-- stay as they were first written, and revised_at becomes now where the row says something else than it did.
-- Without a model version the decision is the baseline's.
-- Booleans may come as such: PostgreSQL takes none for an integer unless told.
-- key: session, ticker, track, model_version
INSERT INTO trade_decisions (
    session, ticker, track, decided_by, route, rank, selected, passes_document_gate, passes_gate, p0, p1, p2, p3,
    expected_roi_document, expected_roi_training, threshold_document, threshold_chosen, total_score,
    blend_score, model_version, calibration_version, training_content, analysis_content, bars_content, reason,
    decided_at, timing, first_selected
) VALUES (
    :session, :ticker, :track, COALESCE(:model_version, 'baseline'), :route, CAST(:rank AS INTEGER),
    CAST(:selected AS INTEGER), CAST(:passes_document_gate AS INTEGER), CAST(:passes_gate AS INTEGER), :p0, :p1, :p2,
    :p3, :expected_roi_document, :expected_roi_training, :threshold_document, :threshold_chosen, :total_score,
    :blend_score, :model_version, :calibration_version, :training_content, :analysis_content, :bars_content,
    :reason, :decided_at, :timing, CAST(:selected AS INTEGER)
)
ON CONFLICT (session, ticker, track, decided_by) DO UPDATE SET
    revised_at = CASE
        WHEN trade_decisions.withdrawn_at IS NULL
            -- The baseline decides alike wherever a ticker is routed to.
            AND (trade_decisions.decided_by = 'baseline' OR trade_decisions.route = excluded.route)
            AND (
                trade_decisions.rank, trade_decisions.selected,
                trade_decisions.passes_document_gate, trade_decisions.passes_gate,
                trade_decisions.p0, trade_decisions.p1, trade_decisions.p2, trade_decisions.p3,
                trade_decisions.expected_roi_document, trade_decisions.expected_roi_training,
                trade_decisions.threshold_document, trade_decisions.threshold_chosen,
                trade_decisions.total_score, trade_decisions.blend_score, trade_decisions.reason
            ) IS NOT DISTINCT FROM (
                excluded.rank, excluded.selected, excluded.passes_document_gate, excluded.passes_gate,
                excluded.p0, excluded.p1, excluded.p2, excluded.p3,
                excluded.expected_roi_document, excluded.expected_roi_training,
                excluded.threshold_document, excluded.threshold_chosen,
                excluded.total_score, excluded.blend_score, excluded.reason
            ) THEN trade_decisions.revised_at
        ELSE excluded.decided_at
    END,
    withdrawn_at = NULL,
    withdrawn_reason = NULL,
    route = excluded.route,
    rank = excluded.rank,
    selected = excluded.selected,
    passes_document_gate = excluded.passes_document_gate,
    passes_gate = excluded.passes_gate,
    p0 = excluded.p0,
    p1 = excluded.p1,
    p2 = excluded.p2,
    p3 = excluded.p3,
    expected_roi_document = excluded.expected_roi_document,
    expected_roi_training = excluded.expected_roi_training,
    threshold_document = excluded.threshold_document,
    threshold_chosen = excluded.threshold_chosen,
    total_score = excluded.total_score,
    blend_score = excluded.blend_score,
    model_version = excluded.model_version,
    calibration_version = excluded.calibration_version,
    training_content = excluded.training_content,
    analysis_content = excluded.analysis_content,
    bars_content = excluded.bars_content,
    reason = excluded.reason;
