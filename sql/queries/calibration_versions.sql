-- One version of the calibration table.
-- returns: version text, place integer, method text, lower double, upper double, trades integer, hits double
-- returns: p_target double, level text, p_timeout double, timeout_bps double, prior double, all_trades integer
-- returns: open_trades integer, as_of timestamp
SELECT
    version, place, method, lower, upper, trades, hits, p_target, level, p_timeout, timeout_bps, prior, all_trades,
    open_trades, as_of
FROM calibration_versions
WHERE version = :version
ORDER BY place;
