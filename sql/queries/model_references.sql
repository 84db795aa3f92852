-- Every text of the warehouse that may name a version of a model, for those who must not remove one that is named.
-- A decision's version may carry its vintage (version@month), and evidence is JSON: look for versions inside.
-- returns: source text, mention text
SELECT 'registry' AS source, version AS mention FROM model_registry
UNION
SELECT 'registry history', version FROM model_events
UNION
SELECT 'registry history', previous_version FROM model_events WHERE previous_version IS NOT NULL
UNION
SELECT 'registry history', evidence FROM model_events
UNION
SELECT 'decision', model_version FROM trade_decisions WHERE model_version IS NOT NULL
UNION
SELECT 'daily metrics', model_version FROM daily_metrics WHERE model_version IS NOT NULL
UNION
SELECT 'feedback', model_version FROM feedback_ledger
UNION
SELECT 'retraining', occasion FROM retrain_events
UNION
SELECT 'retraining', figures FROM retrain_events
ORDER BY 1, 2;
