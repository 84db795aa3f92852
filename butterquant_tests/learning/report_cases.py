"""A report with every section, from simulated figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.learning.report import CalibrationFindings, ModelReport

CLASS_NAMES = ("roi < -10 %", "-10 % <= roi < 5 %", "5 % <= roi < 15 %", "roi >= 15 %")
METRICS = {"log_loss": 1.15, "brier": 0.61, "accuracy": 0.47, "macro_f1": 0.29, "ece": 0.028}


def scores() -> pd.DataFrame:
    rows = []
    for place, name in enumerate(("model", "geometry", "logistic_regression", "class_prior", "majority_class")):
        for metric, value in METRICS.items():
            shifted = value * (1 + 0.01 * place)
            rows.append((name, metric, shifted, 0.96 * shifted, 1.04 * shifted))
    table = pd.DataFrame(rows, columns=["predictor", "metric", "value", "low", "high"])
    table.loc[table["predictor"] == "majority_class", ["low", "high"]] = np.nan
    return table


def folds(count: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    geometry, gain = rng.normal(1.15, 0.04, count), rng.normal(0.002, 0.006, count)
    frame = pd.DataFrame({"boundary": pd.date_range("2015-01-01", periods=count, freq="6MS")})
    frame = frame.assign(train_rows=2000 + 600 * np.arange(count), episodes=4, test_rows=610, model=geometry - gain)
    frame = frame.assign(geometry=geometry, difference=gain, low=gain - 0.011, high=gain + 0.011)
    frame.loc[count - 1, ["low", "high"]] = np.nan
    return frame


def weights(count: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    members = ("base", "mlp", "xgboost", "lightgbm", "logistic")
    months = pd.date_range("2015-01-01", periods=count, freq="6MS")
    drawn = rng.dirichlet([6, 2, 2, 2, 0.5], count)
    rows = [(month, name, drawn[i, j]) for i, month in enumerate(months) for j, name in enumerate(members)]
    return pd.DataFrame(rows, columns=["boundary", "member", "weight"])


def reliability(rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    stated = rng.dirichlet([2.5, 0.8, 0.6, 2.2], rows)
    labels = (rng.random((rows, 1)) > stated.cumsum(axis=1)).sum(axis=1)
    table = []
    for k in range(4):
        place = np.minimum((10 * stated[:, k]).astype(int), 9)
        for bin_ in range(10):
            mine = place == bin_
            means = (stated[mine, k].mean(), (labels[mine] == k).mean()) if mine.any() else (np.nan, np.nan)
            table.append((k, bin_, bin_ / 10, (bin_ + 1) / 10, int(mine.sum()), *means))
    names = ["class", "bin", "lower", "upper", "count", "mean_predicted", "observed"]
    return pd.DataFrame(table, columns=names)


def methods() -> pd.DataFrame:
    frame = pd.DataFrame({"method": ["none", "temperature", "sigmoid", "isotonic", "venn_abers"]})
    frame = frame.assign(log_loss=[1.151, 1.1497, 1.1532, 1.162, 1.158], ece=[0.031, 0.022, 0.025, 0.028, 0.027])
    frame = frame.assign(gain=1.151 - frame["log_loss"], standard_error=[0.0, 0.0021, 0.0018, 0.004, 0.0033])
    return frame.assign(chosen=[True, False, False, False, False])


def importance() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    names = [
        "trend_slope",
        "dominant_period",
        "period_strength",
        "forecast_return",
        "predicted_vol",
        "current_iv",
        "vol_mispricing",
        "iv_percentile",
        "delta",
        "gamma",
        "vega",
        "theta",
        "max_profit",
        "max_loss",
        "profit_ratio",
        "prob_profit",
        "skew_estimate",
        "momentum_7d",
        "vol_concentration",
        "iv_rank",
        "wing_width",
        "days_held",
        "vix_close",
    ]
    increase = np.abs(rng.normal(0, 0.005, len(names))) - 0.001
    return pd.DataFrame({"feature": names, "increase": increase, "low": increase - 0.003, "high": increase + 0.003})


def decisions() -> pd.DataFrame:
    rules = ["model, threshold chosen", "model, document's threshold", "geometry", "total_score", "every trade"]
    frame = pd.DataFrame({"rule": rules, "threshold": [0.08, 0.15, 0.15, np.nan, np.nan]})
    frame = frame.assign(rows=[220, 61, 14, 380, 3605], episodes=[17, 9, 4, 21, 26])
    mean = np.array([0.012, -0.021, -0.08, -0.047, -0.052])
    return frame.assign(mean_roi_net=mean, low=mean - 0.09, high=mean + 0.1)


def expected_roi() -> pd.DataFrame:
    frame = pd.DataFrame({"expected": [-0.12, -0.05, 0.0, 0.04, 0.13], "realised": [-0.08, -0.06, -0.02, -0.01, 0.03]})
    return frame.assign(low=frame["realised"] - 0.1, high=frame["realised"] + 0.1, rows=721)


def trials(count: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"number": np.arange(count), "state": "complete", "value": 1.15 + rng.exponential(0.02, count)}
    )
    frame["rate"], frame["depth"] = np.exp(rng.uniform(-7, -2, count)), rng.integers(2, 7, count)
    frame["hidden"] = rng.choice(["[128, 64]", "[32]"], count)
    frame.loc[10::3, "state"] = "pruned"
    frame.loc[[7, 23], ["state", "value"]] = ["failed", np.nan]
    return frame


def splits() -> pd.DataFrame:
    dates = {
        "first": pd.to_datetime(["2012-01-03", "2015-01-02"]),
        "last": pd.to_datetime(["2018-11-02", "2018-11-02"]),
    }
    return pd.DataFrame({"part": ["all_rows", "out_of_fold"], "rows": [6512, 3605], "episodes": [41, 26]} | dates)


def calibration() -> CalibrationFindings:
    parts = {"brier": 0.612, "reliability": 0.004, "resolution": 0.061, "uncertainty": 0.671, "within_bin": -0.002}
    reason = "No method was better than none by more than two standard errors over episodes."
    return CalibrationFindings("none", reason, methods(), reliability(), 0.021, 0.026, parts)


def full_report(**changes: Any) -> ModelReport:
    values: dict[str, Any] = {
        "title": "Success model of the butterfly line",
        "purpose": "Probabilities of four classes of return on a butterfly's debit, for choosing trades.",
        "verdict": [
            "On 3,605 out-of-fold rows of 26 episodes the model's log-loss is 1.150 nats and the geometry baseline's "
            "1.152, a gain of +0.002 (95 % interval over episodes -0.006 .. +0.010): no edge over the geometry "
            "baseline is shown."
        ],
        "class_names": CLASS_NAMES,
        "scores": scores(),
        "scored_on": "3,605 out-of-fold rows of 26 episodes",
        "version": "3f9c2ab1d7e04c55",
        "folds": folds(),
        "weights": weights(),
        "calibration": calibration(),
        "confusion": [[900, 80, 20, 600], [180, 60, 10, 150], [120, 30, 15, 170], [500, 70, 30, 670]],
        "decisions": decisions(),
        "expected_roi": expected_roi(),
        "importance": importance(),
        "study": trials(),
        "study_logarithmic": ["rate"],
        "splits": splits(),
        "data": {"training_set": "a3c1f09e", "equity_bars": "77d0e1b2", "source": "sample (simulated constituents)"},
        "configuration": {"label": "label_mark", "members": ["mlp", "xgboost"], "mlp": {"hidden": [128, 64]}},
        "seeds": {"members": 7, "bootstrap": 11},
        "limits": ["Option prices are a proxy on realised volatility.", "Not for position sizes."],
    }
    return ModelReport(**(values | changes))
