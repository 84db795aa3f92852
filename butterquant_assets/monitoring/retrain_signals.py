"""What speaks for retraining, read from the newest months of the monitoring tables. Pure.

What belongs here: which condition holds, with its figures. What does not: whether a retrain is due, how often one may
be, and starting it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError

FEATURE_DRIFT, PREDICTION_DRIFT, CALIBRATION_DECAY, DECISION_DECAY = NAMES = (
    "feature_drift",
    "prediction_drift",
    "calibration_decay",
    "decision_decay",
)


@dataclass(frozen=True)
class SignalConfig:
    """When an alarm speaks for retraining.

    Parameters
    ----------
    minimum_columns
        a drift table must show at least so many drifted columns
    known_months
        whether months count that the model in service has already learnt from; retraining would change nothing
    """

    minimum_columns: int = 1
    known_months: bool = False

    def __post_init__(self) -> None:
        if self.minimum_columns < 1:
            raise ConfigError(f"minimum_columns is {self.minimum_columns}; at least 1 column must have drifted")


@dataclass(frozen=True)
class Condition:
    """One reason to retrain, and whether it holds.

    Parameters
    ----------
    name
        one of `NAMES`
    month
        the newest month that could be judged, ``YYYY-MM``; empty: none could
    fired
        whether it speaks for retraining
    figures
        what it rests on; only finite values
    text
        the same in words
    """

    name: str
    month: str
    fired: bool
    figures: Mapping[str, float]
    text: str


def conditions(
    feature_drift: pd.DataFrame,
    prediction_drift: pd.DataFrame,
    calibration_decay: pd.DataFrame,
    decision_decay: pd.DataFrame,
    config: SignalConfig,
) -> tuple[Condition, ...]:
    """The four conditions, in the order of `NAMES`.

    Parameters
    ----------
    feature_drift, prediction_drift, calibration_decay, decision_decay
        tables of these names, any months; empty ones fire nothing
    config
        when an alarm counts

    Returns
    -------
    tuple of Condition
        each about the newest month with a verdict, never about a later one without
    """
    taken = decision_decay[decision_decay["track"] == "ai"]
    tables = (feature_drift, prediction_drift, calibration_decay, taken)
    readers: tuple[Callable[[pd.DataFrame, SignalConfig], tuple[bool, dict[str, float], str]], ...] = (
        _drift,
        _drift,
        _calibration,
        _decisions,
    )
    return tuple(_condition(*each, config) for each in zip(NAMES, tables, readers, strict=True))


def _condition(
    name: str,
    table: pd.DataFrame,
    read: Callable[[pd.DataFrame, SignalConfig], tuple[bool, dict[str, float], str]],
    config: SignalConfig,
) -> Condition:
    judged = table[table["judged"]]
    if judged.empty:
        return Condition(name, "", False, {}, f"{name.replace('_', ' ')}: no month can be judged yet")
    rows = judged[judged["month"] == judged["month"].max()]
    month = f"{rows['month'].iloc[0]:%Y-%m}"
    fired, figures, text = read(rows, config)
    if fired and bool(rows["learnt"].all()) and not config.known_months:
        fired, text = False, f"{text}; the model in service has learnt from that month"
    finite = {key: float(value) for key, value in figures.items() if np.isfinite(value)}
    return Condition(name, month, fired, finite, f"{name.replace('_', ' ')} in {month}: {text}")


def _drift(rows: pd.DataFrame, config: SignalConfig) -> tuple[bool, dict[str, float], str]:
    alarms = rows[rows["alarm"]]
    figures = {
        "columns": float(len(rows)),
        "drifted": float(len(alarms)),
        "worst_statistic": float(rows["statistic"].max()),
        "threshold": float(rows["threshold"].iloc[0]),
    }
    if alarms.empty:
        return False, figures, f"none of {len(rows)} columns strays by more than luck"
    told = "; ".join(f"{row['column']} {row['reason']}" for row in alarms.head(5).to_dict("records"))
    fired = len(alarms) >= config.minimum_columns
    return fired, figures, f"{len(alarms)} of {len(rows)} columns drifted: {told}"


def _calibration(rows: pd.DataFrame, config: SignalConfig) -> tuple[bool, dict[str, float], str]:
    row = rows.iloc[0]
    names = ("log_loss", "promised_log_loss", "excess", "low", "high", "ece", "ece_limit", "rows")
    figures = {name: float(row[name]) for name in names}
    kept = f"log-loss {row['log_loss']:.3f}, {row['promised_log_loss']:.3f} promised, within a month's luck"
    return bool(row["alarm"]), figures, str(row["reason"]) or kept


def _decisions(rows: pd.DataFrame, config: SignalConfig) -> tuple[bool, dict[str, float], str]:
    row = rows.iloc[0]
    names = ("expected", "realised", "trailing", "low", "high", "trailing_decisions", "trailing_months")
    figures = {name: float(row[name]) for name in names}
    kept = (
        f"realised less expected ROI is {100 * row['trailing']:+.1f} points over {row['trailing_decisions']} decisions"
    )
    return bool(row["alarm"]), figures, str(row["reason"]) or kept
