-- One version of the cost table; coin '*' is every coin without a row.
-- returns: version text, coin text, used_bps double, holding_hours double, as_of timestamp
SELECT version, coin, used_bps, holding_hours, as_of
FROM cost_versions
WHERE version = :version
ORDER BY coin;
