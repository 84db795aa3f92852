-- One version of the thresholds.
-- returns: version text, minimum_bars double, f_directional double, independence double, regime double
-- returns: ev_bps double, as_of timestamp
SELECT version, minimum_bars, f_directional, independence, regime, ev_bps, as_of
FROM threshold_versions
WHERE version = :version;
