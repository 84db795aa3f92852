-- All trades of the ledger, by key.
-- returns: session timestamp, ticker text, take integer, evaluation_session timestamp, tracks text, route text
-- returns: model_version text, roi_net double
SELECT session, ticker, take, evaluation_session, tracks, route, model_version, roi_net
FROM feedback_ledger ORDER BY session, ticker;
