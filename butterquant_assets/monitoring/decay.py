"""Whether live predictions and decisions keep what was promised for them, month by month. Pure.

Calibration is judged by the month of entry, against the walk-forward predictions made before it at the same VIX strata,
with the luck of a month as in `drift`. Decisions are judged by what they realised less what they expected, over the
last months together: a single month holds too few of them. What belongs here: figures of known outcomes. What does not:
joining outcomes to decisions (`butterfly.performance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.block_bootstrap import BlockInterval, mean_over_months, month_numbers
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.reliability import ece_by_chance_in_episodes
from butterquant_assets.monitoring.drift import Daily, DriftRules, compare
from butterquant_assets.monitoring.drift_table import STRATA

Floats = npt.NDArray[np.float64]

PROBABILITIES = ("p0", "p1", "p2", "p3")
EVERYTHING = "all_candidates"
ECE_DRAWS = 300

CALIBRATION_TYPES = {
    "month": "datetime64[us]",
    "log_loss": "float64",
    "promised_log_loss": "float64",
    "excess": "float64",
    "low": "float64",
    "high": "float64",
    "overconfidence": "float64",
    "overconfidence_limit": "float64",
    "ece": "float64",
    "ece_limit": "float64",
    "promised_ece": "float64",
    "rows": "int64",
    "sessions": "int64",
    "promised_rows": "int64",
    "learnt": "bool",
    "judged": "bool",
    "alarm": "bool",
    "reason": "str",
}
DECISION_TYPES = {
    "month": "datetime64[us]",
    "track": "str",
    "decisions": "int64",
    "known": "int64",
    "expected": "float64",
    "realised": "float64",
    "trailing": "float64",
    "low": "float64",
    "high": "float64",
    "trailing_decisions": "int64",
    "trailing_months": "int64",
    "learnt": "bool",
    "judged": "bool",
    "alarm": "bool",
    "reason": "str",
}
"""Columns of the two tables in stored order with their types; `schemas` adds meaning."""


@dataclass(frozen=True)
class DecayRules:
    """When realised returns count as decayed.

    Parameters
    ----------
    trailing_months
        months judged together
    minimum_months, minimum_decisions
        fewer months with known outcomes, or fewer of these, give no verdict
    seed
        of the block bootstrap over months
    """

    trailing_months: int = 12
    minimum_months: int = 6
    minimum_decisions: int = 30
    seed: int = 7

    def __post_init__(self) -> None:
        if not 2 <= self.minimum_months <= self.trailing_months or self.minimum_decisions < 1:
            raise ConfigError(
                f"minimum_months is {self.minimum_months}, trailing_months {self.trailing_months}, minimum_decisions "
                f"{self.minimum_decisions}; expected 2 <= minimum_months <= trailing_months and at least 1 decision"
            )


def calibration_by_month(
    promised: pd.DataFrame,
    live: pd.DataFrame,
    months: Sequence[str],
    rules: DriftRules,
    *,
    seed: int,
    learnt_until: pd.Timestamp,
) -> pd.DataFrame:
    """Log-loss and calibration error of each month's live predictions beside what the walk-forward promised.

    Parameters
    ----------
    promised
        session, stratum, p0 .. p3, label (0 .. 3): walk-forward predictions, each by a model that had not seen the row
    live
        the same columns of live predictions whose outcome is known
    months
        ``YYYY-MM``, those of `live` to judge
    rules
        when there is an alarm
    seed
        of the calibration error that chance explains
    learnt_until
        last session the model in service has learnt from

    Returns
    -------
    DataFrame
        columns of `CALIBRATION_TYPES`, ascending by month of entry; a month without a known outcome has no row.
        ``excess`` is log-loss less what was promised at the month's strata, and ``low`` .. ``high`` its interval, by
        luck of a whole month. There is an alarm when that interval lies above 0, or confidence and hits differ by more
        than luck.
    """
    parts = []
    entered = live["session"].dt.strftime("%Y-%m")
    for month in sorted(set(months) & set(entered)):
        inside, start = live[entered == month], pd.Timestamp(month)
        row = _calibration(promised[promised["session"] < start], inside, rules, seed)
        parts.append({"month": start, "learnt": bool(learnt_until >= start)} | row)
    return _typed(parts, CALIBRATION_TYPES)


def _calibration(before: pd.DataFrame, inside: pd.DataFrame, rules: DriftRules, seed: int) -> dict[str, object]:
    p, y = _predictions(inside)
    loss = float(metrics.row_log_loss(p, y).mean())
    row: dict[str, object] = {
        "log_loss": loss,
        "overconfidence": float((p.max(axis=1) - (p.argmax(axis=1) == y)).mean()),
        "ece": metrics.expected_calibration_error(p, y),
        "ece_limit": ece_by_chance_in_episodes(p, y, inside["session"].to_numpy(), seed=seed, draws=ECE_DRAWS),
        "rows": len(inside),
        "sessions": int(inside["session"].nunique()),
        "promised_rows": len(before),
    }
    nothing = ("promised_log_loss", "excess", "low", "high", "overconfidence_limit", "promised_ece")
    row |= dict.fromkeys(nothing, np.nan) | {"judged": False, "alarm": False}
    if not len(before):
        return row | {"reason": "not judged: no walk-forward prediction before this month"}
    row["promised_ece"] = metrics.expected_calibration_error(*_predictions(before))
    found = compare(_daily(before), _daily(inside), rules)
    excess, reach = float(found.difference[0]), found.threshold * found.error
    row |= {"promised_log_loss": loss - excess, "excess": excess}
    if np.isnan(found.threshold):
        months = before["session"].dt.strftime("%Y-%m").nunique()
        few = f"{months} months promised and {row['sessions']} sessions known are too few"
        return row | {"reason": f"not judged: {few}"}
    row |= {"low": excess - reach[0], "high": excess + reach[0], "overconfidence_limit": float(reach[1])}
    told = []
    if excess > reach[0]:
        told.append(f"log-loss {loss:.3f} against {loss - excess:.3f} promised ({reach[0]:.3f} is luck)")
    if abs(found.difference[1]) > reach[1]:
        told.append(f"confidence less hits moved by {found.difference[1]:+.3f} ({reach[1]:.3f} is luck)")
    return row | {"judged": True, "alarm": bool(told), "reason": "; ".join(told)}


def decisions_by_month(
    joined: pd.DataFrame, months: Sequence[str], rules: DecayRules, learnt_until: pd.Timestamp
) -> pd.DataFrame:
    """Realised less expected ROI of the decisions taken, by month of entry and over the last months together.

    Parameters
    ----------
    joined
        session, track, selected, expected_roi, roi_net (missing unless ``outcome`` is ``known``), outcome; the rows of
        the track ``ai`` are every candidate
    months
        ``YYYY-MM`` to report, decided on or not
    rules
        when there is an alarm
    learnt_until
        last session the model in service has learnt from

    Returns
    -------
    DataFrame
        columns of `DECISION_TYPES`, ascending by month and track: ``ai``, what the model's track took, and
        ``all_candidates``, as if it had taken all. ``trailing`` is realised less expected over the last months, with
        its 95 % interval over blocks of months; there is an alarm when that lies below 0.
    """
    ai = joined[joined["track"] == "ai"]
    parts = []
    for track, rows in (("ai", ai[ai["selected"]]), (EVERYTHING, ai)):
        entered = rows["session"].dt.strftime("%Y-%m")
        for month in months:
            first = f"{pd.Timestamp(month) - pd.DateOffset(months=rules.trailing_months - 1):%Y-%m}"
            window = rows[(entered >= first) & (entered <= month)]
            start = pd.Timestamp(month)
            row = _decisions(rows[entered == month], window, rules)
            parts.append({"month": start, "track": track, "learnt": bool(learnt_until >= start)} | row)
    return _typed(parts, DECISION_TYPES).sort_values(["month", "track"], kind="stable").reset_index(drop=True)


def _decisions(inside: pd.DataFrame, window: pd.DataFrame, rules: DecayRules) -> dict[str, object]:
    known, all_known = (part[part["outcome"] == "known"] for part in (inside, window))
    short = (all_known["roi_net"] - all_known["expected_roi"]).to_numpy(dtype=np.float64)
    found = mean_over_months(short, month_numbers(all_known["session"].to_numpy()), seed=rules.seed)
    judged = found.months >= rules.minimum_months and found.rows >= rules.minimum_decisions
    return {
        "decisions": len(inside),
        "known": len(known),
        "expected": float(known["expected_roi"].mean()) if len(known) else np.nan,
        "realised": float(known["roi_net"].mean()) if len(known) else np.nan,
        "trailing": found.value,
        "low": found.low if np.isfinite(found.low) else np.nan,
        "high": found.high if np.isfinite(found.high) else np.nan,
        "trailing_decisions": found.rows,
        "trailing_months": found.months,
        "judged": judged,
        "alarm": bool(judged and found.high < 0.0),
        "reason": _decision_reason(found, judged, rules),
    }


def _decision_reason(found: BlockInterval, judged: bool, rules: DecayRules) -> str:
    if not judged:
        return (
            f"not judged: {found.rows} known decisions of {found.months} months, {rules.minimum_decisions} of "
            f"{rules.minimum_months} are needed"
        )
    if not found.high < 0.0:
        return ""
    return (
        f"realised ROI is {100 * found.value:+.1f} points of what was expected "
        f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}] over {found.rows} decisions of {found.months} months"
    )


def _predictions(rows: pd.DataFrame) -> tuple[Floats, npt.NDArray[np.int64]]:
    return metrics.check_predictions(
        rows[list(PROBABILITIES)].to_numpy(dtype=np.float64), rows["label"].to_numpy(), len(PROBABILITIES)
    )


def _daily(rows: pd.DataFrame) -> Daily:
    """Mean log-loss, and mean confidence less share of hits, of each session."""
    p, y = _predictions(rows)
    values = pd.DataFrame(
        {
            "session": rows["session"].to_numpy(),
            "stratum": rows["stratum"].map(STRATA.index).to_numpy(dtype=np.int64),
            "loss": metrics.row_log_loss(p, y),
            "gap": p.max(axis=1) - (p.argmax(axis=1) == y),
        }
    )
    days = values.groupby("session", sort=True).agg({"stratum": "first", "loss": "mean", "gap": "mean"})
    day = days.index.to_numpy().astype("datetime64[D]")
    return Daily(day, days["stratum"].to_numpy(dtype=np.int64), days[["loss", "gap"]].to_numpy(dtype=np.float64))


def _typed(parts: list[dict[str, object]], types: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(parts, columns=list(types)).astype(types)
