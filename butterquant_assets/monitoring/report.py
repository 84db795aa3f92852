"""The drift tables and the regime as one line a month and table. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.monitoring.schemas import REPORT_TYPES, TABLES

SHOWN = 6


def summarise(feature_drift: pd.DataFrame, prediction_drift: pd.DataFrame, regime: pd.DataFrame) -> pd.DataFrame:
    """One row a month and table, ascending: alarm, how many columns, the worst, and every reason.

    Parameters
    ----------
    feature_drift, prediction_drift, regime
        tables of these names

    Returns
    -------
    DataFrame
        columns of `schemas.REPORT_TYPES`
    """
    rows = []
    for name, table in zip(TABLES, (feature_drift, prediction_drift, regime), strict=True):
        column = "metric" if name == "regime" else "column"
        for month, part in table.groupby("month", sort=True):
            rows.append({"month": month, "table": name} | _summary(part, column))
    whole = pd.DataFrame(rows, columns=list(REPORT_TYPES)).astype(REPORT_TYPES)
    return whole.sort_values(["month", "table"], kind="stable").reset_index(drop=True)


def newest(table: pd.DataFrame) -> dict[str, Any]:
    """Alarm and reasons of the newest month with a verdict, as plain values for the asset's facts.

    Of any monitoring table. A month that has no verdict yet does not hide the one before it; where none has one, the
    newest says why.
    """
    if table.empty:
        return {"month": "", "alarm": False, "judged": False, "reasons": []}
    judged = table[table["judged"]]
    rows = table[table["month"] == (judged if len(judged) else table)["month"].max()]
    word, label = ("reasons" if "reasons" in rows else "reason"), _label(rows)
    told = rows[rows[word] != ""]
    return {
        "month": f"{rows['month'].iloc[0]:%Y-%m}",
        "alarm": bool(rows["alarm"].any()),
        "judged": bool(rows["judged"].any()),
        "reasons": list(
            dict.fromkeys(f"{row[label]}: {row[word]}" if label else row[word] for _, row in told.iterrows())
        ),
    }


def _label(rows: pd.DataFrame) -> str:
    return next((name for name in ("column", "metric", "table", "track") if name in rows), "")


def _summary(part: pd.DataFrame, column: str) -> dict[str, Any]:
    judged = bool(part["judged"].any())
    alarms = part[part["alarm"]]
    ratio = (part["statistic"] / part["threshold"]).to_numpy(dtype=np.float64)
    worst = part.iloc[int(np.nanargmax(ratio))] if np.isfinite(ratio).any() else None
    told = [f"{row[column]} {row['reason']}" for _, row in alarms.head(SHOWN).iterrows()]
    if len(alarms) > SHOWN:
        told.append(f"and {len(alarms) - SHOWN} more")
    return {
        "alarm": len(alarms) > 0,
        "judged": judged,
        "alarms": len(alarms),
        "compared": len(part),
        "worst": "" if worst is None else str(worst[column]),
        "worst_statistic": np.nan if worst is None else float(worst["statistic"]),
        "threshold": np.nan if worst is None else float(worst["threshold"]),
        "reasons": "; ".join(told) if judged else str(part["reason"].iloc[0]),
    }
