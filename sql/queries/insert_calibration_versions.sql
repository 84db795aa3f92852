-- Keep versions of calibration tables; one that is kept already stays as it is.
-- key: version, place
INSERT INTO calibration_versions (
    version, place, method, lower, upper, trades, hits, p_target, level, p_timeout, timeout_bps, prior, all_trades,
    open_trades, as_of
) VALUES (
    :version, CAST(:place AS INTEGER), :method, :lower, :upper, CAST(:trades AS INTEGER), :hits, :p_target, :level,
    :p_timeout, :timeout_bps, :prior, CAST(:all_trades AS INTEGER), CAST(:open_trades AS INTEGER), :as_of
)
ON CONFLICT (version, place) DO NOTHING;
