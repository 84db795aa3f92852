-- Results that became known in a span of time, both ends included.
-- returns: signal_id text, mode text, known_at timestamp, status text, outcome text, exit_reason text
-- returns: exit_at timestamp, exit_price double, exit_fill double, held_hours double, gross_bps double
-- returns: gap_bps double, paid_funding_bps double, settlements integer, funding_known integer, pnl_bps double
-- returns: pnl_usd double
SELECT
    signal_id, mode, known_at, status, outcome, exit_reason, exit_at, exit_price, exit_fill, held_hours, gross_bps,
    gap_bps, paid_funding_bps, settlements, funding_known, pnl_bps, pnl_usd
FROM trade_results
WHERE known_at BETWEEN :first AND :last
ORDER BY known_at, signal_id, mode;
