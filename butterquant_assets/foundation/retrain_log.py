"""The log of retrains in the warehouse: which condition called for each, with its figures, and what came of it.

What belongs here: the events, those of them that were given up, and their tables. What does not: deciding whether to
retrain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, cast

import pandas as pd

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.lake import combine
from butterquant_assets.foundation.warehouse import Warehouse

Kind = Literal["update", "full"]
Outcome = Literal["requested", "nothing_new"]


@dataclass(frozen=True)
class Reason:
    """Why a retrain was called for.

    Parameters
    ----------
    name
        ``feature_drift``, ``prediction_drift``, ``calibration_decay``, ``decision_decay``, ``code``,
        ``weekly``, ``monthly``, or ``first_look`` where the record begins
    occasion
        the month (or, for code, the version) it is about; a name and an occasion act once
    figures
        what was measured, by name; a figure that could not be measured is None
    text
        one sentence
    """

    name: str
    occasion: str
    figures: Mapping[str, float | None]
    text: str


@dataclass(frozen=True)
class RetrainEvent:
    """One decision to retrain.

    Parameters
    ----------
    event_id
        hash over time, kind and reasons
    at
        naive UTC
    kind
        ``update`` of the cheap members, or ``full``
    outcome
        ``requested``, or ``nothing_new`` where nothing had changed that a model could learn from
    rows_added
        feedback rows that were taken for it
    reasons
        at least one
    failed_at
        when it was given up since every attempt had failed, naive UTC; None for one that was not
    """

    event_id: str
    at: datetime
    kind: Kind
    outcome: Outcome
    rows_added: int
    reasons: tuple[Reason, ...]
    failed_at: datetime | None = None


def new_event(at: datetime, kind: Kind, outcome: Outcome, rows_added: int, reasons: tuple[Reason, ...]) -> RetrainEvent:
    """An event with its identity: the same decision at the same time is the same event.

    Raises
    ------
    ValueError
        without a reason, or with a time that has a zone.
    """
    if not reasons or at.tzinfo is not None:
        raise ValueError(f"a retrain event has a reason and a naive UTC time; got {len(reasons)} reasons at {at!r}")
    what = (f"{reason.name}@{reason.occasion}" for reason in reasons)
    return RetrainEvent(combine([at.isoformat(), kind, *what]), at, kind, outcome, rows_added, reasons)


class RetrainLog:
    """Retrain events of one warehouse.

    Parameters
    ----------
    url
        of the warehouse
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def record(self, event: RetrainEvent) -> None:
        """Append an event, all of its reasons or none; recording it again changes nothing."""
        rows = pd.DataFrame(
            {
                "event_id": event.event_id,
                "at": pd.Timestamp(event.at).as_unit("us"),
                "kind": event.kind,
                "outcome": event.outcome,
                "rows_added": event.rows_added,
                "reason": reason.name,
                "occasion": reason.occasion,
                "figures": json.dumps(dict(reason.figures), sort_keys=True, allow_nan=False),
                "text": reason.text,
            }
            for reason in event.reasons
        )
        with self._opened() as warehouse:
            warehouse.upsert_frame("insert_retrain_event", rows)

    def record_failure(self, event_id: str, at: datetime, attempts: int) -> None:
        """Append that a retrain was given up after so many attempts; recording it again changes nothing."""
        row = {"event_id": event_id, "at": pd.Timestamp(at).as_unit("us"), "attempts": attempts}
        with self._opened() as warehouse:
            warehouse.upsert_frame("insert_retrain_failure", pd.DataFrame([row]))

    def events(self) -> tuple[RetrainEvent, ...]:
        """All events, oldest first.

        Raises
        ------
        WarehouseError
            if the warehouse cannot be read, or holds figures that are no JSON object.
        """
        with self._opened() as warehouse:
            rows = warehouse.fetch("retrain_events").to_dict("records")
        return tuple(_event(list(group)) for _, group in groupby(rows, key=lambda row: row["event_id"]))

    @contextmanager
    def _opened(self) -> Iterator[Warehouse]:
        with Warehouse(self._url) as warehouse:
            warehouse.migrate()
            yield warehouse


def _event(rows: list[dict[Any, Any]]) -> RetrainEvent:
    first = rows[0]
    reasons = tuple(Reason(row["reason"], row["occasion"], _figures(row), row["text"]) for row in rows)
    at = first["at"].to_pydatetime()
    failed_at = None if pd.isna(first["failed_at"]) else first["failed_at"].to_pydatetime()
    kind, outcome = cast(Kind, first["kind"]), cast(Outcome, first["outcome"])
    return RetrainEvent(first["event_id"], at, kind, outcome, int(first["rows_added"]), reasons, failed_at)


def _figures(row: Mapping[Any, Any]) -> dict[str, float | None]:
    try:
        figures = json.loads(row["figures"])
    except json.JSONDecodeError as error:
        raise WarehouseError(f"retrain event {row['event_id']} holds figures that are no JSON ({error})") from error
    if not isinstance(figures, dict):
        raise WarehouseError(f"retrain event {row['event_id']} holds figures {figures!r}, expected a JSON object")
    return figures
