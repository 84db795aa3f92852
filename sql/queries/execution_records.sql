-- Executions entered in a span of time, both ends included.
-- returns: signal_id text, mode text, track text, entry_at timestamp, entry_price double, entry_fill double
-- returns: spread_bps double, spread_known integer, slippage_bps double, fee_bps double, paid_cost_bps double
SELECT
    signal_id, mode, track, entry_at, entry_price, entry_fill, spread_bps, spread_known, slippage_bps, fee_bps,
    paid_cost_bps
FROM execution_records
WHERE entry_at BETWEEN :first AND :last
ORDER BY entry_at, signal_id, mode;
