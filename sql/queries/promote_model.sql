-- Put one registered version into service and take the former champion out, in one transaction.
-- Changes nothing when the version is not registered.
UPDATE model_registry SET role = 'challenger'
WHERE model = :model AND role = 'champion' AND version <> :version
    AND EXISTS (SELECT 1 FROM model_registry AS wanted WHERE wanted.model = :model AND wanted.version = :version);

UPDATE model_registry SET role = 'champion' WHERE model = :model AND version = :version;
