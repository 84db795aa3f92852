-- Register a model version. Registering one again refreshes its evidence but not its role: a repeated publication must
-- not take the champion out of service (see promote_model, refuse_model).
-- key: model, version
INSERT INTO model_registry (
    model, version, role, label, onnx_sha256, training_content, code_version, metrics, published_at
) VALUES (
    :model, :version, :role, :label, :onnx_sha256, :training_content, :code_version, :metrics, :published_at
)
ON CONFLICT (model, version) DO UPDATE SET
    label = excluded.label,
    onnx_sha256 = excluded.onnx_sha256,
    training_content = excluded.training_content,
    code_version = excluded.code_version,
    metrics = excluded.metrics,
    published_at = COALESCE(excluded.published_at, model_registry.published_at);
