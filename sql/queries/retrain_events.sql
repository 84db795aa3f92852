-- Retrain events with their reasons, oldest first.
-- returns: event_id text, at timestamp, kind text, outcome text, rows_added integer, reason text, occasion text
-- returns: figures text, text text
SELECT event_id, at, kind, outcome, rows_added, reason, occasion, figures, text
FROM retrain_events
ORDER BY at, event_id, reason, occasion;
