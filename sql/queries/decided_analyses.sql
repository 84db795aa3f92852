-- Butterflies of a span of sessions, both ends included, on which some decision stands.
-- returns: session timestamp, ticker text
SELECT DISTINCT session, ticker
FROM trade_decisions
WHERE session BETWEEN :first AND :last AND withdrawn_at IS NULL
ORDER BY session, ticker;
