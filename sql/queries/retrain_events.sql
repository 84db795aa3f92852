-- Retrain events with their reasons, oldest first; failed_at is missing unless the retrain was given up.
-- returns: event_id text, at timestamp, kind text, outcome text, rows_added integer, reason text, occasion text
-- returns: figures text, text text, failed_at timestamp
SELECT e.event_id, e.at, e.kind, e.outcome, e.rows_added, e.reason, e.occasion, e.figures, e.text, f.at AS failed_at
FROM retrain_events AS e
LEFT JOIN retrain_failures AS f ON f.event_id = e.event_id
ORDER BY e.at, e.event_id, e.reason, e.occasion;
