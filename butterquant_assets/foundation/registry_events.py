"""Events of the model registry: what one is, how they are chained, and what a history says. Pure.

What belongs here: reading meaning out of a list of events. What does not: storing them, and files (`registry`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.model_content import canonical_json

# The entry of an event's evidence that says whether it speaks for the version.
IN_FAVOUR = "promoted"
ID_LENGTH = 32
INTO_SERVICE = ("promoted", "rolled_back")


@dataclass(frozen=True)
class ModelEvent:
    """One thing that happened to a model version.

    Parameters
    ----------
    model, sequence
        name, and number of the event in its history: 1, 2, 3 ...
    at
        naive UTC
    version
        the version concerned; of a rollback, the one restored
    action
        ``registered``, ``judged``, ``promoted``, ``refused`` or ``rolled_back``
    previous_version
        the champion when it happened; None where there was none
    actor, reason
        who or what did it, and why
    evidence
        plain values
    event_id
        hash over all of these and the event before
    """

    model: str
    sequence: int
    at: datetime
    version: str
    action: str
    previous_version: str | None
    actor: str
    reason: str
    evidence: dict[str, Any]
    event_id: str

    def to_row(self) -> dict[str, Any]:
        """Parameters of the queries that append it."""
        return dict(vars(self)) | {"evidence": canonical_json(self.evidence).decode()}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self)) | {"at": self.at.isoformat(timespec="microseconds")}


def chained(
    events: Sequence[ModelEvent],
    *,
    model: str,
    at: datetime,
    version: str,
    action: str,
    previous_version: str | None,
    actor: str,
    reason: str,
    evidence: dict[str, Any],
) -> ModelEvent:
    """The event that follows `events`, with the number and the hash that this gives it.

    Raises
    ------
    ModelStoreError
        if the evidence is no plain JSON value.
    """
    facts: dict[str, Any] = {
        "model": model,
        "sequence": len(events) + 1,
        "version": version,
        "action": action,
        "previous_version": previous_version,
        "actor": actor,
        "reason": reason,
        "evidence": evidence,
    }
    before = events[-1].event_id if events else None
    hashed = canonical_json(facts | {"at": at.isoformat(timespec="microseconds"), "before": before})
    return ModelEvent(**facts, at=at, event_id=hashlib.sha256(hashed).hexdigest()[:ID_LENGTH])


def verified_history(model: str, rows: pd.DataFrame) -> list[ModelEvent]:
    """Events of the ``model_events`` query, each checked against its hash and its place.

    Raises
    ------
    WarehouseError
        naming the first event that is not as it was written, or not where it was written.
    """
    events: list[ModelEvent] = []
    for row in rows.to_dict("records"):
        facts: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        number, written = facts.pop("sequence"), facts.pop("event_id")
        try:
            evidence = json.loads(facts.pop("evidence"))
        except ValueError:
            evidence = None
        event = chained(events, **facts | {"at": facts["at"].to_pydatetime(), "evidence": evidence})
        if (event.sequence, event.event_id) != (number, written):
            raise WarehouseError(
                f"event {number} of model {model} is not as it was written, or an event before it was removed: "
                "somebody edited model_events; restore the warehouse from a backup"
            )
        events.append(event)
    return events


def service_event(events: Sequence[ModelEvent], version: str) -> ModelEvent | None:
    """The event that last put a version into service; None where none did."""
    return next((e for e in reversed(events) if e.version == version and e.action in INTO_SERVICE), None)


def served_before(events: Sequence[ModelEvent], champion: str | None) -> list[str]:
    """Versions that a rollback could restore, the nearest first.

    A promotion puts its version on top of those before it; a rollback takes off what it passed, so that rolling back
    again walks further back.
    """
    served: list[str] = []
    for event in events:
        if event.action == "promoted":
            served.append(event.version)
        elif event.action == "rolled_back":
            while served and served[-1] != event.version:
                served.pop()
    nearest_first = dict.fromkeys(reversed(served))
    return [version for version in nearest_first if version != champion]


def evidence_in_favour(events: Sequence[ModelEvent], version: str, champion: str | None) -> ModelEvent | None:
    """The last word on a version, if it speaks for promoting it over today's champion; else None."""
    last = last_word(events, version)
    if last is None or last.evidence.get(IN_FAVOUR) is not True or last.previous_version != champion:
        return None
    return last if last.action in ("registered", "judged", "promoted") else None


def last_word(events: Sequence[ModelEvent], version: str) -> ModelEvent | None:
    """The newest event that judges a version: about it, or the rollback that took it out of service."""
    for event in reversed(events):
        taken_out = event.action == "rolled_back" and event.previous_version == version
        if taken_out or (event.version == version and (event.evidence or event.action != "registered")):
            return event
    return None


def plain_evidence(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence as it reads when it comes back from the warehouse (tuples are lists by then).

    Raises
    ------
    ModelStoreError
        if it holds anything that is no plain JSON value, NaN included.
    """
    plain: dict[str, Any] = json.loads(canonical_json(dict(evidence)))
    return plain
