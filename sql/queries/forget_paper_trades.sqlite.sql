-- Remove paper trades of signals of a span of hours, both ends included, that are not to be kept.
-- :keep is a JSON array of signal ids.
DELETE FROM trade_results
WHERE mode = 'paper'
    AND signal_id IN (SELECT signal_id FROM signal_snapshots WHERE hour BETWEEN :first AND :last)
    AND signal_id NOT IN (SELECT value FROM json_each(:keep));
DELETE FROM execution_records
WHERE mode = 'paper'
    AND signal_id IN (SELECT signal_id FROM signal_snapshots WHERE hour BETWEEN :first AND :last)
    AND signal_id NOT IN (SELECT value FROM json_each(:keep));
