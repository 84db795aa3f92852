"""Heavy libraries load when they are used, never when a module is imported."""

from __future__ import annotations

import subprocess
import sys

MODULES = [
    "learning.splits",
    "learning.scaling",
    "learning.mlp",
    "learning.onnx_export",
    "learning.metrics",
    "learning.baselines",
    "learning.cards",
    "butterfly.evaluation",
    "foundation.model_store",
    "foundation.plots",
]
HEAVY = "torch sklearn onnx onnxruntime matplotlib PIL safetensors arch statsmodels xgboost lightgbm QuantLib dagster"


def test_importing_learning_modules_loads_nothing_heavy() -> None:
    imports = "; ".join(f"import butterquant_assets.{module}" for module in MODULES)
    script = f"import sys; {imports}; print(sorted(set(sys.modules) & set('{HEAVY}'.split())))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
