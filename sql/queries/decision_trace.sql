-- Where each decision about one butterfly came from: decision -> model version -> data it was trained on and analysed
-- from, with what the registry says of the version and, where it is known, the outcome. role is the role now; a version
-- the registry does not know leaves its columns NULL, and a vintage (version@month) has no ONNX file of its own.
-- in_service_since is the version's first promotion.
-- returns: session timestamp, ticker text, track text, route text, rank integer, selected integer, reason text
-- returns: model_version text, model text, role text, label_column text, onnx_sha256 text, code_version text
-- returns: published_at timestamp, in_service_since timestamp, calibration_version text, training_content text
-- returns: registered_training_content text, analysis_content text, bars_content text
-- returns: evaluation_session timestamp, roi_mark double, roi_net double, label integer
-- returns: decided_at timestamp, timing text, first_selected integer, revised_at timestamp, withdrawn_at timestamp
-- returns: withdrawn_reason text, p0 double, p1 double, p2 double, p3 double, expected_roi_document double
-- returns: expected_roi_training double, threshold_document double, threshold_chosen double, total_score double
-- returns: blend_score double
SELECT
    decision.session, decision.ticker, decision.track, decision.route, decision.rank, decision.selected,
    decision.reason, decision.model_version, registry.model, registry.role, registry.label AS label_column,
    CASE WHEN registry.version = decision.model_version THEN registry.onnx_sha256 END AS onnx_sha256,
    registry.code_version, registry.published_at,
    first_service.at AS in_service_since,
    decision.calibration_version, decision.training_content,
    registry.training_content AS registered_training_content, decision.analysis_content,
    decision.bars_content, outcome.evaluation_session, outcome.roi_mark, outcome.roi_net, outcome.label,
    decision.decided_at, decision.timing, decision.first_selected, decision.revised_at,
    decision.withdrawn_at, decision.withdrawn_reason,
    decision.p0, decision.p1, decision.p2, decision.p3, decision.expected_roi_document,
    decision.expected_roi_training, decision.threshold_document, decision.threshold_chosen,
    decision.total_score, decision.blend_score
FROM trade_decisions AS decision
LEFT JOIN model_registry AS registry
    -- A vintage of a version decides as version@month.
    ON registry.version = decision.model_version OR decision.model_version LIKE registry.version || '@%'
LEFT JOIN model_events AS first_service
    ON first_service.model = registry.model
    AND first_service.sequence = (
        SELECT MIN(promotion.sequence) FROM model_events AS promotion
        WHERE promotion.model = registry.model AND promotion.version = registry.version
            AND promotion.action = 'promoted'
    )
LEFT JOIN decision_outcomes AS outcome ON outcome.session = decision.session AND outcome.ticker = decision.ticker
WHERE decision.session = :session AND decision.ticker = :ticker
ORDER BY decision.track, decision.decided_by;
