-- Every act of taking, oldest first. first_content and last_content differ only in a ledger that somebody edited.
-- returns: take integer, taken_at timestamp, known_until timestamp, trades integer, first_session timestamp
-- returns: last_session timestamp, mean_roi_net double, first_content text, last_content text
SELECT
    take, MIN(taken_at) AS taken_at, MAX(known_until) AS known_until, COUNT(*) AS trades,
    MIN(session) AS first_session, MAX(session) AS last_session, AVG(roi_net) AS mean_roi_net,
    MIN(content) AS first_content, MAX(content) AS last_content
FROM feedback_ledger GROUP BY take ORDER BY take;
