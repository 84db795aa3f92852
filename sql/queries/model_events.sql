-- The history of a model, oldest first.
-- returns: model text, sequence integer, at timestamp, version text, action text, previous_version text
-- returns: actor text, reason text, evidence text, event_id text
SELECT model, sequence, at, version, action, previous_version, actor, reason, evidence, event_id
FROM model_events WHERE model = :model ORDER BY sequence;
