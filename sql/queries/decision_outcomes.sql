-- Outcomes of a span of entry sessions, both ends included, that were known by a day: nothing from after it.
-- returns: session timestamp, ticker text, evaluation_session timestamp, roi_mark double, roi_net double
-- returns: label integer
SELECT session, ticker, evaluation_session, roi_mark, roi_net, label
FROM decision_outcomes
WHERE session BETWEEN :first AND :last AND evaluation_session <= :known_by
ORDER BY session, ticker;
