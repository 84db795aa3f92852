-- Write execution records; one that exists is replaced.
-- key: signal_id, mode
INSERT INTO execution_records (
    signal_id, mode, track, entry_at, entry_price, entry_fill, spread_bps, spread_known, slippage_bps, fee_bps,
    paid_cost_bps
) VALUES (
    :signal_id, :mode, :track, :entry_at, :entry_price, :entry_fill, :spread_bps, CAST(:spread_known AS INTEGER),
    :slippage_bps, :fee_bps, :paid_cost_bps
)
ON CONFLICT (signal_id, mode) DO UPDATE SET
    track = excluded.track,
    entry_at = excluded.entry_at,
    entry_price = excluded.entry_price,
    entry_fill = excluded.entry_fill,
    spread_bps = excluded.spread_bps,
    spread_known = excluded.spread_known,
    slippage_bps = excluded.slippage_bps,
    fee_bps = excluded.fee_bps,
    paid_cost_bps = excluded.paid_cost_bps;
