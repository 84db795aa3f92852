-- Keep versions of thresholds; one that is kept already stays as it is.
-- key: version
INSERT INTO threshold_versions (version, minimum_bars, f_directional, independence, regime, ev_bps, as_of)
VALUES (:version, :minimum_bars, :f_directional, :independence, :regime, :ev_bps, :as_of)
ON CONFLICT (version) DO NOTHING;
