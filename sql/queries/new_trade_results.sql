-- How many trades ended after a time: what a refresh of the learned tables waits for.
-- returns: results integer
SELECT COUNT(*) AS results
FROM trade_results
WHERE status = 'closed' AND known_at > :since;
