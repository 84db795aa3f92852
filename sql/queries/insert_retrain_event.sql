-- Record one reason of a retrain event; nothing happens where it stands already.
-- key: event_id, reason, occasion
INSERT INTO retrain_events (event_id, at, kind, outcome, rows_added, reason, occasion, figures, text)
VALUES (:event_id, :at, :kind, :outcome, CAST(:rows_added AS INTEGER), :reason, :occasion, :figures, :text)
ON CONFLICT (event_id, reason, occasion) DO NOTHING;
