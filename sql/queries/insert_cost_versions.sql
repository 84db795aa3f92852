-- Keep versions of cost tables; one that is kept already stays as it is.
-- key: version, coin
INSERT INTO cost_versions (version, coin, used_bps, holding_hours, as_of)
VALUES (:version, :coin, :used_bps, :holding_hours, :as_of)
ON CONFLICT (version, coin) DO NOTHING;
