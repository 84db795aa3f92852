-- Append the event and put its version into service, the former champion out of it, in one transaction. When another
-- event took the number first, nothing happens at all: read the event back to know.
INSERT INTO model_events (
    model, sequence, at, version, action, previous_version, actor, reason, evidence, event_id
) VALUES (
    :model, :sequence, :at, :version, :action, :previous_version, :actor, :reason, :evidence, :event_id
)
ON CONFLICT (model, sequence) DO NOTHING;

UPDATE model_registry SET role = 'retired'
WHERE model = :model AND role = 'champion' AND version <> :version
    AND EXISTS (SELECT 1 FROM model_events WHERE model = :model AND sequence = :sequence AND event_id = :event_id);

UPDATE model_registry SET role = 'champion'
WHERE model = :model AND version = :version
    AND EXISTS (SELECT 1 FROM model_events WHERE model = :model AND sequence = :sequence AND event_id = :event_id);
