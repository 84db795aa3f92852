"""How a home directory stands: what is current, stale or failing, and what the artefacts say.

Reads the lake only; knows no Dagster runs. Its dictionaries are the stable ``--json`` answers of the command line
(docs/cli.md).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.freshness import Freshness, State
from butterquant_assets.orchestration.house import House

SHOWN_REASONS = 5
OUT_OF_SAMPLE = "walk_forward"
LABELS = ("label_mark", "label_net", "label_expiry", "label_tent")


def asset_states(house: House, freshness: Freshness) -> list[dict[str, Any]]:
    """One entry per table: partitions by state, rows, and the commonest reasons of what is not current."""
    entries = []
    for node in house.nodes:
        judged = {key: freshness.judge(node.name, key) for key in node.partitions()}
        states = Counter(j.state for j in judged.values())
        footers = [freshness.snapshot.entry(node.name, key).footer for key in judged]
        reasons = Counter(reason for j in judged.values() if j.state is not State.CURRENT for reason in j.reasons)
        warnings = {
            f"{name}{f' {key}' if key else ''}": text
            for key in judged
            if (footer := freshness.snapshot.entry(node.name, key).footer)
            for name, text in footer.facts.get("warnings", {}).items()
        }
        entries.append(
            {
                "asset": node.name,
                "partitions": len(judged),
                "materialised": sum(footer is not None for footer in footers),
                "rows": sum(footer.rows for footer in footers if footer),
                **{str(state): states[state] for state in State if state is not State.UNWANTED},
                "reasons": [{"reason": r, "partitions": n} for r, n in reasons.most_common(SHOWN_REASONS)],
                "warnings": warnings,
            }
        )
    return entries


def findings(house: House) -> dict[str, Any]:
    """What the artefacts say: strata, rejects by reason, label distribution, the model beside its baselines, files."""
    found: dict[str, Any] = {"home": str(house.settings.home), "lake": house.lake.shown}
    samples = house.lake.footer("butterfly/vix_samples")
    if samples:
        found["strata"] = samples.facts.get("strata", {})
    found["analysis_rejects"] = _counts(house, "butterfly/analysis_rejects", ["reason"])
    found["bar_rejects"] = _counts(house, "market/bar_rejects", ["dataset", "reason"])
    training = house.lake.footer("butterfly/training_set")
    if training:
        frame = house.lake.read("butterfly/training_set", None, list(LABELS))
        found["training_rows"] = training.rows
        found["labels"] = {label: _shares(frame[label]) for label in LABELS}
        found["unlabelled"] = training.facts.get("unlabelled", {})
    model = house.lake.footer("butterfly/success_model")
    if model:
        evaluation = house.lake.read("butterfly/success_model")
        shown = evaluation[
            (evaluation["part"] == OUT_OF_SAMPLE) & evaluation["metric"].isin(["log_loss", "accuracy", "brier"])
        ]
        table = shown.pivot_table(index="predictor", columns="metric", values="value", sort=False)
        found["model"] = {**model.facts, "out_of_sample": table.to_dict("index")}
        found["model"].pop("warnings", None)
        models = house.settings.models_location / "success" / model.facts["version"]
        found["model"] |= {"onnx": str(models / "model.onnx"), "report": str(models / "report.html")}
    champion = house.lake.footer("butterfly/success_champion")
    if champion:
        found["champion"] = {name: champion.facts[name] for name in ("champion", "challenger", "reason")}
    update = house.lake.footer("butterfly/success_update")
    if update:
        found["update"] = {name: update.facts[name] for name in ("champion", "version", "promoted", "reason")}
    performance = house.lake.footer("butterfly/decision_performance")
    if performance:
        found["decisions"] = {"as_of": performance.facts["as_of"], "verdict": performance.facts["verdict"]}
    return found


def signal_findings(house: House) -> dict[str, Any]:
    """What the signal line says: signals by verdict, and what the newest round of learning found of their results.

    Empty before signals were scored. ``earned`` holds, for the signals that every gate let pass and those that any
    rejected, how many were executed on paper, their mean result in bps and its 95 % interval over weeks (None where it
    has none); ``chosen_afterwards`` is the share of the trades learned from that are of coins chosen afterwards.
    """
    scored = [
        house.lake.footer("signals/scored_signals", day) for day in house.lake.partitions("signals/scored_signals")
    ]
    if not scored:
        return {}
    totals = {name: sum(int(footer.facts[name]) for footer in scored if footer) for name in ("signals", "accepted")}
    learned = house.lake.footer("signals/calibration_table")
    found: dict[str, Any] = {"simulated": house.simulated, **totals, "rounds": 0, "earned": {}}
    if learned is None or not learned.facts.get("rounds"):
        return found
    found |= {name.replace(" ", "_"): learned.facts[name] for name in ("rounds", "newest round", "calibration method")}
    found["chosen_afterwards"] = float(learned.facts.get("share of coins chosen afterwards", 0.0))
    gates = house.lake.read("signals/gate_report")
    newest = gates[gates["as_of"] == gates["as_of"].max()].set_index("gate")
    figures = ["executed", "mean_pnl_bps", "low_bps", "high_bps"]
    found["earned"] = {
        name: {figure: _finite(newest.loc[row, figure]) for figure in figures}
        for name, row in (("accepted", "accepted"), ("rejected", "any"))
    }
    return found


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _counts(house: House, asset: str, columns: list[str]) -> dict[str, int]:
    months = house.lake.partitions(asset)
    if not months:
        return {}
    frame = house.lake.read(asset, months, columns)
    counts = frame[columns].agg(" ".join, axis=1) if len(frame) else pd.Series(dtype="str")
    return {str(key): int(n) for key, n in counts.value_counts().items()}


def _shares(labels: pd.Series) -> dict[str, float]:
    shares = labels.value_counts(normalize=True)
    return {str(label): round(float(shares.get(label, 0.0)), 4) for label in range(4)}
