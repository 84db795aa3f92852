-- Append the event and mark its version as judged and refused, in one transaction. The version in service keeps its
-- role: promote another first. When another event took the number first, nothing happens at all.
INSERT INTO model_events (
    model, sequence, at, version, action, previous_version, actor, reason, evidence, event_id
) VALUES (
    :model, :sequence, :at, :version, :action, :previous_version, :actor, :reason, :evidence, :event_id
)
ON CONFLICT (model, sequence) DO NOTHING;

UPDATE model_registry SET role = 'refused'
WHERE model = :model AND version = :version AND role <> 'champion'
    AND EXISTS (SELECT 1 FROM model_events WHERE model = :model AND sequence = :sequence AND event_id = :event_id);
