"""Where the decisions about one butterfly came from, what they said before, and what became of it.

An edge: it reads the warehouse and knows no Dagster. What does not belong here: recording (`decision_record`), and the
way from a model to its data (`registry_lineage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import pandas as pd

from butterquant_assets.foundation.decision_record import BASELINE
from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_values import plain
from butterquant_assets.foundation.warehouse import Warehouse

CLASSES = ("loss", "small", "good", "excellent")
HASH = 12  # of 64 digits, enough to recognise


@dataclass(frozen=True)
class DecisionTrace:
    """All decisions about one ticker on one session.

    Parameters
    ----------
    session, ticker
        of the butterfly
    decisions
        one for each track and decider: columns of the query ``decision_trace``, plain values, and ``said_before``, a
        list of what it said before a correction, oldest first
    """

    session: str
    ticker: str
    decisions: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def trace_decision(warehouse: Warehouse, session: date, ticker: str) -> DecisionTrace:
    """Everything on record about the decisions on one analysed butterfly.

    Parameters
    ----------
    warehouse
        migrated
    session
        of the decision
    ticker
        exactly as it is traded

    Raises
    ------
    WarehouseError
        if there is none, with what there is.
    """
    day = pd.Timestamp(session)
    found = warehouse.fetch("decision_trace", {"session": day, "ticker": ticker})
    span = {"first": day, "last": day}
    if found.empty:
        others = warehouse.fetch("trade_decisions", span)["ticker"].unique().tolist()
        what = f"that day there are {len(others)}: {', '.join(others[:8])}{' ...' if len(others) > 8 else ''}"
        raise WarehouseError(
            f"no decision about {ticker} on {day:%Y-%m-%d} is on record; "
            f"{what if others else 'none about any other ticker either: is it a session of the recent months?'}"
        )
    former = warehouse.fetch("decision_revisions", span)
    former = former[former["ticker"] == ticker]
    deciders = found["model_version"].fillna(BASELINE)
    decisions = []
    for (_, row), decider in zip(found.iterrows(), deciders, strict=True):
        mine = former[(former["track"] == row["track"]) & (former["decided_by"] == decider)]
        said = [_plain(each) for _, each in mine.drop(columns=["session", "ticker", "track", "decided_by"]).iterrows()]
        decisions.append(_plain(row.drop(["session", "ticker"])) | {"said_before": said})
    return DecisionTrace(f"{day:%Y-%m-%d}", ticker, tuple(decisions))


def trace_text(trace: DecisionTrace) -> str:
    """The same for a reader."""
    lines = [f"{trace.ticker} on {trace.session}", *_outcome(trace.decisions[0])]
    for decision in trace.decisions:
        lines += ["", *(_of(decision))]
    return "\n".join(lines)


def _of(decision: Mapping[str, Any]) -> list[str]:
    version, at = decision["model_version"], decision["decided_at"]
    decider = f"{version} ({decision['route']})" if version else "the baseline"
    when = f"{at} UTC, {decision['timing']}" if at else "at a time not on record"
    lines = [
        f"{decision['track']}, decided by {decider} {when}",
        *_said(decision),
        f"  why: {decision['reason']}",
    ]
    if decision["withdrawn_at"]:
        lines.append(f"  withdrawn {decision['withdrawn_at']}: {decision['withdrawn_reason']}")
    elif decision["revised_at"]:
        lines.append(f"  says so since {decision['revised_at']}")
    for former in decision["said_before"]:
        why = f", when it was withdrawn ({former['withdrawn_reason']})" if former["withdrawn_reason"] else ""
        lines.append(f"  said until {former['superseded_at']}{why}:")
        lines += [f"  {line}" for line in [*_said(former), f"  why: {former['reason']}"]]
    if decision["model"]:
        served = decision["in_service_since"]
        since = f"in service first {served}" if served else "never in service"
        onnx = decision["onnx_sha256"]
        file = f"ONNX {onnx[:HASH]}" if onnx else "decided by one of its vintages"
        lines.append(f"  model {decision['model']}, {decision['role']} now, {since}, {file}")
    data = (("training set", "training_content"), ("analyses", "analysis_content"), ("bars", "bars_content"))
    named = [f"{name} {decision[column][:HASH]}" for name, column in data if decision[column]]
    return [*lines, f"  from {', '.join(named)}"] if named else lines


def _said(row: Mapping[str, Any]) -> list[str]:
    """Figures of a decision, as it says or said."""
    place = f", rank {row['rank']}" if row["rank"] is not None else ""
    lines = [f"  {'selected' if row['selected'] else 'not selected'}{place}, total score {_number(row['total_score'])}"]
    chances = {name: row[f"p{k}"] for k, name in enumerate(CLASSES)}
    if None not in chances.values():
        lines.append("  probabilities: " + ", ".join(f"{name} {p:.3f}" for name, p in chances.items()))
        lines.append(
            f"  expected ROI {_percent(row['expected_roi_training'])} over a threshold of "
            f"{_percent(row['threshold_chosen'])}; by the document's class values "
            f"{_percent(row['expected_roi_document'])} over {_percent(row['threshold_document'])}"
        )
    return lines


def _outcome(decision: Mapping[str, Any]) -> list[str]:
    if decision["evaluation_session"] is None:
        return ["outcome: not known yet, or taken back"]
    label = CLASSES[decision["label"]] if decision["label"] is not None else "without a label"
    return [
        f"outcome on {decision['evaluation_session'][:10]}: ROI {_percent(decision['roi_net'])} net, "
        f"{_percent(decision['roi_mark'])} at mid prices ({label})"
    ]


def _plain(row: pd.Series) -> dict[str, Any]:
    return {str(name): _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    found = plain(value)
    return found.isoformat(sep=" ", timespec="seconds") if isinstance(found, datetime) else found


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:+.1f} %"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"
