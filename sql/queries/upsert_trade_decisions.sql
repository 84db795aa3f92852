-- Write decisions; one that exists is replaced. Without a model version the decision is the baseline's.
-- Booleans may come as such: PostgreSQL takes none for an integer unless told.
-- key: session, ticker, track, model_version
INSERT INTO trade_decisions (
    session, ticker, track, decided_by, route, rank, selected, passes_document_gate, passes_gate, p0, p1, p2, p3,
    expected_roi_document, expected_roi_training, threshold_document, threshold_chosen, total_score,
    blend_score, model_version, calibration_version, training_content, analysis_content, bars_content, reason
) VALUES (
    :session, :ticker, :track, COALESCE(:model_version, 'baseline'), :route, CAST(:rank AS INTEGER),
    CAST(:selected AS INTEGER), CAST(:passes_document_gate AS INTEGER), CAST(:passes_gate AS INTEGER), :p0, :p1, :p2,
    :p3, :expected_roi_document, :expected_roi_training, :threshold_document, :threshold_chosen, :total_score,
    :blend_score, :model_version, :calibration_version, :training_content, :analysis_content, :bars_content,
    :reason
)
ON CONFLICT (session, ticker, track, decided_by) DO UPDATE SET
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
