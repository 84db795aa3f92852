-- The version of a model in service: one row or none.
-- returns: model text, version text, role text, label text, onnx_sha256 text, training_content text
-- returns: code_version text, metrics text, published_at timestamp
SELECT model, version, role, label, onnx_sha256, training_content, code_version, metrics, published_at
FROM model_registry WHERE model = :model AND role = 'champion';
