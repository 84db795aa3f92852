-- Models with at least one registered version.
-- returns: model text
SELECT DISTINCT model FROM model_registry ORDER BY model;
