-- Append an event that changes no role. Nothing happens when another event took the number first: read it back to know.
INSERT INTO model_events (
    model, sequence, at, version, action, previous_version, actor, reason, evidence, event_id
) VALUES (
    :model, :sequence, :at, :version, :action, :previous_version, :actor, :reason, :evidence, :event_id
)
ON CONFLICT (model, sequence) DO NOTHING;
