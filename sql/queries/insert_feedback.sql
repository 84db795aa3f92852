-- Append the rows of one take. A trade that is in the ledger already is refused, and the whole take with it.
-- key: session, ticker
INSERT INTO feedback_ledger (
    session, ticker, take, taken_at, known_until, evaluation_session, tracks, route, model_version, roi_net, content
) VALUES (
    :session, :ticker, CAST(:take AS INTEGER), :taken_at, :known_until, :evaluation_session, :tracks, :route,
    :model_version, :roi_net, :content
);
