-- Versions in service, one row a model.
-- returns: model text, version text
SELECT model, version FROM model_registry WHERE role = 'champion' ORDER BY model;
