-- Write trade results; one that exists is replaced. Only a mark made before a trade ended, by a writer that
-- comes late, does not open it again.
-- key: signal_id, mode
INSERT INTO trade_results (
    signal_id, mode, known_at, status, outcome, exit_reason, exit_at, exit_price, exit_fill, held_hours, gross_bps,
    gap_bps, paid_funding_bps, settlements, funding_known, pnl_bps, pnl_usd
) VALUES (
    :signal_id, :mode, :known_at, :status, :outcome, :exit_reason, :exit_at, :exit_price, :exit_fill, :held_hours,
    :gross_bps, :gap_bps, :paid_funding_bps, CAST(:settlements AS INTEGER), CAST(:funding_known AS INTEGER),
    :pnl_bps, :pnl_usd
)
ON CONFLICT (signal_id, mode) DO UPDATE SET
    known_at = excluded.known_at,
    status = excluded.status,
    outcome = excluded.outcome,
    exit_reason = excluded.exit_reason,
    exit_at = excluded.exit_at,
    exit_price = excluded.exit_price,
    exit_fill = excluded.exit_fill,
    held_hours = excluded.held_hours,
    gross_bps = excluded.gross_bps,
    gap_bps = excluded.gap_bps,
    paid_funding_bps = excluded.paid_funding_bps,
    settlements = excluded.settlements,
    funding_known = excluded.funding_known,
    pnl_bps = excluded.pnl_bps,
    pnl_usd = excluded.pnl_usd
WHERE NOT (
    trade_results.status = 'closed' AND excluded.status = 'open' AND excluded.known_at < trade_results.known_at
);
