"""A network of its own as an ONNX file, which the product only ever exports inside an ensemble."""

from __future__ import annotations

from butterquant_assets.learning.mlp import TrainedMlp, rebuild
from butterquant_assets.learning.onnx_export import INPUT, OUTPUT, finished, module_to_onnx


def export_onnx(trained: TrainedMlp) -> bytes:
    """Features float32 [n, d] in (NaN is imputed inside), probabilities float32 [n, k] out."""
    inputs = {INPUT: len(trained.features)}
    return finished(module_to_onnx(rebuild(trained), inputs, OUTPUT), inputs, {OUTPUT: trained.n_classes})
