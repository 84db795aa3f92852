"""What the newest round says in a few figures and sentences: for metadata and warnings.

What belongs here: picking and wording. What does not: computing (`refresh`) and drawing (`foundation.signal_plots`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

WARNS = {
    "calibration": "the newest round's probabilities were better than the base rate (Brier score, 95 % over weeks)",
    "reliability": "the newest round's calibration error is no larger than chance explains",
    "expected_value": "what accepted signals earned, by the newest round, does not lie below 0 (95 % over weeks)",
}


def facts(records: pd.DataFrame, newest: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """How many rounds there are, and what the newest one put in force.

    Parameters
    ----------
    records
        columns of `report_schemas.LEARNING_ROUNDS`
    newest
        frames of the newest round by name; none before the first
    """
    if not newest:
        return {"rounds": 0}
    last, calibration = records.iloc[-1], newest["calibration_table"].iloc[0]
    thresholds = newest["gate_thresholds"].set_index("gate")["applied"]
    figures = _figures(newest)
    return {
        "rounds": len(records),
        "newest round": f"{last['as_of']:%Y-%m-%d} ({last['reason']})",
        "trades": int(last["trades"]),
        "calibration method": str(calibration["method"]),
        "versions": {
            name.removesuffix("_version"): str(last[name])
            for name in ("calibration_version", "cost_version", "threshold_version")
        },
        "thresholds": {str(gate): float(value) for gate, value in thresholds.items()},
        "threshold changes": int(newest["gate_thresholds"]["changed"].sum()),
        "Brier": {
            name: round(figures[name], 5)
            for name in ("brier", "brier_base_rate", "brier_gain_low", "brier_gain_high")
            if figures[name] == figures[name]
        },
    }


def warnings(newest: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Sentences for `WARNS`; none where there is nothing to say yet."""
    if not newest:
        return {}
    found = {}
    figures = _figures(newest)
    if figures["trades"] > 0 and not figures["brier_gain_low"] > 0:
        found["calibration"] = (
            f"Brier {figures['brier']:.4f} is not shown to be better than the base rate's "
            f"{figures['brier_base_rate']:.4f}: gain {figures['brier_gain']:+.4f}, 95 % interval "
            f"{figures['brier_gain_low']:+.4f} .. {figures['brier_gain_high']:+.4f} over {figures['weeks']:.0f} weeks"
        )
    limit = max(figures["ece_by_chance"], figures["ece_by_chance_in_weeks"])
    if figures["ece"] > limit:
        found["reliability"] = f"calibration error {figures['ece']:.4f}, of which chance explains {limit:.4f}"
    kept = newest["gate_report"].set_index("gate").loc["accepted"]
    if kept["high_bps"] < 0:
        found["expected_value"] = (
            f"{kept['executed']} accepted signals earned {kept['mean_pnl_bps']:+.1f} bps on average, 95 % interval "
            f"{kept['low_bps']:+.1f} .. {kept['high_bps']:+.1f}"
        )
    return found


def _figures(newest: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    report = newest["calibration_report"]
    return dict(zip(report["metric"].tolist(), report["value"].tolist(), strict=True))
