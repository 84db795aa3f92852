"""Heavy libraries load when they are used, never when a module is imported."""

from __future__ import annotations

import subprocess
import sys

MODULES = [
    "butterfly.volatility",
    "butterfly.moves",
    "butterfly.short_term_onnx",
    "learning.onnx_trees",
    "learning.onnx_graph",
    "learning.served_calibration",
    "learning.probabilities",
    "learning.report_sections",
    "learning.report_html",
    "learning.report",
    "learning.tuning_objective",
    "learning.tuning",
    "learning.forecast_scores",
    "learning.promotion",
    "learning.importance",
    "learning.evidence",
    "learning.reliability",
    "learning.calibration_tables",
    "learning.calibration_choice",
    "learning.calibration",
    "learning.scaling",
    "learning.walk_forward",
    "learning.mlp",
    "learning.boosters",
    "learning.logistic",
    "learning.members",
    "learning.ensemble",
    "learning.regression",
    "learning.onnx_export",
    "learning.onnx_ensemble",
    "learning.metrics",
    "learning.baselines",
    "learning.cards",
    "butterfly.evaluation",
    "butterfly.success",
    "foundation.model_store",
    "foundation.plots",
]
HEAVY = (
    "torch sklearn onnx onnxruntime matplotlib PIL safetensors arch statsmodels xgboost lightgbm optuna "
    "QuantLib dagster"
)


def test_importing_learning_modules_loads_nothing_heavy() -> None:
    imports = "; ".join(f"import butterquant_assets.{module}" for module in MODULES)
    script = f"import sys; {imports}; print(sorted(set(sys.modules) & set('{HEAVY}'.split())))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
