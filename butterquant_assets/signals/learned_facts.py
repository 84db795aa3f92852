"""What the newest round says in a few figures and sentences: for metadata and warnings.

What belongs here: picking and wording. What does not: computing (`refresh`) and drawing (`foundation.signal_plots`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

AFTERWARDS = "share of coins chosen afterwards"
WARNS = {
    "calibration": "the newest round's probabilities were better than the base rate (Brier score, 95 % over weeks)",
    "reliability": "the newest round's calibration error is no larger than chance explains",
    "universe": "the newest round learned from coins that were in the universe as it was known on the day, no others",
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
    words = newest["calibration_report"].set_index("metric")["word"]
    return {
        "rounds": len(records),
        "newest round": f"{last['as_of']:%Y-%m-%d} ({last['reason']})",
        "trades": int(last["trades"]),
        AFTERWARDS: chosen_afterwards(last),
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
        }
        | ({"in the document's words": words["brier"]} if words["brier"] else {}),
        # Probabilities are learned from all signals, so what they are worth for the accepted ones is said apart.
        "accepted alone": {
            name: round(figures[f"accepted_{name}"], 4)
            for name in ("trades", "observed", "predicted", "gap", "gap_low", "gap_high")
            if figures[f"accepted_{name}"] == figures[f"accepted_{name}"]
        },
    }


def chosen_afterwards(record: Mapping[Any, Any] | pd.Series) -> float:
    """Share of a round's trades that are of coins chosen afterwards, 0 .. 1; 0 without trades."""
    return float(record["chosen_afterwards"] / max(1, record["trades"]))


def universe_sentence(share: float) -> str:
    """What a reader must know of tables learned from coins chosen with hindsight."""
    return (
        f"{100 * share:.{0 if share >= 0.1 else 1}f} % of the trades behind these tables are of coins chosen "
        "afterwards, so that those that fell and went are missing: results and probabilities look too good"
    )


def warnings(records: pd.DataFrame, newest: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Sentences for `WARNS`, of what `facts` takes; none where there is nothing to say yet."""
    if not newest:
        return {}
    found = {}
    if (share := chosen_afterwards(records.iloc[-1])) > 0:
        found["universe"] = universe_sentence(share)
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
