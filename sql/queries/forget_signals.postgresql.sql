-- Remove signals of a span of hours, both ends included, that are not to be kept and that nothing was traded on.
-- :keep is a JSON array of signal ids.
DELETE FROM signal_snapshots
WHERE hour BETWEEN :first AND :last
    AND signal_id NOT IN (SELECT json_array_elements_text(CAST(:keep AS json)))
    AND NOT EXISTS (SELECT 1 FROM execution_records AS made WHERE made.signal_id = signal_snapshots.signal_id)
    AND NOT EXISTS (SELECT 1 FROM trade_results AS came WHERE came.signal_id = signal_snapshots.signal_id);
