-- Record that a retrain was given up; nothing happens where that stands already.
-- key: event_id
INSERT INTO retrain_failures (event_id, at, attempts)
VALUES (:event_id, :at, CAST(:attempts AS INTEGER))
ON CONFLICT (event_id) DO NOTHING;
