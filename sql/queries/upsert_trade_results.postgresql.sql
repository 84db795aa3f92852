-- Write trade results; one that exists is replaced. Only a mark made before a trade ended, by a writer that
-- comes late, does not open it again.
-- :rows is a JSON array of objects: one statement for thousands of rows is ten times as fast as one for each.
WITH given AS (
    SELECT *
    FROM json_to_recordset(CAST(:rows AS json)) AS listed(
        signal_id text, mode text, known_at timestamp, status text, outcome text, exit_reason text,
        exit_at timestamp, exit_price double precision, exit_fill double precision, held_hours double precision,
        gross_bps double precision, gap_bps double precision, paid_funding_bps double precision, settlements integer,
        funding_known integer, pnl_bps double precision, pnl_usd double precision
    )
)
INSERT INTO trade_results (
    signal_id, mode, known_at, status, outcome, exit_reason, exit_at, exit_price, exit_fill, held_hours, gross_bps,
    gap_bps, paid_funding_bps, settlements, funding_known, pnl_bps, pnl_usd
)
SELECT
    signal_id, mode, known_at, status, outcome, exit_reason, exit_at, exit_price, exit_fill, held_hours, gross_bps,
    gap_bps, paid_funding_bps, settlements, funding_known, pnl_bps, pnl_usd
FROM given
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
