-- Record that a version was judged and refused. The version in service cannot be refused: promote another first.
UPDATE model_registry SET role = 'refused' WHERE model = :model AND version = :version AND role <> 'champion';
