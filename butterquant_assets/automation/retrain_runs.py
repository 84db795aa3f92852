"""Runs of a retrain: what it releases now, what keeps a model from learning, and how far its runs have come.

What belongs here: from an event of the log to the run it still needs. What does not: whether to retrain (`retraining`),
and when to look (`retrain_sensor`).

A retrain is done when each model it is about has learned, or had nothing new to learn from. A model whose rows are
quarantined has not: the run goes over the others, its tag names the one that was held up, and the retrain stays open
until that one can be trained too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg

from butterquant_assets.automation.requests import (
    Request,
    refuse_mere_configuration,
    request_of,
    trained_families,
    without,
)
from butterquant_assets.automation.retries import RetryPolicy
from butterquant_assets.automation.runs import UNFINISHED
from butterquant_assets.automation.sensors import run_request
from butterquant_assets.foundation.freshness import Freshness, Key, State, plan
from butterquant_assets.foundation.retrain_log import Kind, RetrainEvent
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import KEPT, WAITING

EVENT_TAG, KIND_TAG = "butterquant/retrain", "butterquant/retrain-kind"
REASONS_TAG, FIGURES_TAG = "butterquant/retrain-reasons", "butterquant/retrain-figures"
HELD_UP_TAG = "butterquant/retrain-held-up"
TAG_LENGTH = 1000
SHOWN = 3


@dataclass(frozen=True)
class Reach:
    """What a retrain can do at this moment.

    Parameters
    ----------
    request
        the run over the models that can learn something new, and over all that they read and that reads them; None
        where there is none
    held_up
        models that cannot learn what is new until something is mended, each with that something in words
    """

    request: Request | None
    held_up: dict[str, str]

    @property
    def told(self) -> str:
        """What holds which model up, in words; empty for nothing."""
        return "; ".join(f"{name} {why}" for name, why in self.held_up.items())


@dataclass(frozen=True)
class Standing:
    """How far a retrain has come, and what is to be done about it.

    Parameters
    ----------
    step
        ``wait``; ``go``: `run` is to be requested; ``held_up``: there is nothing to do until something else is mended;
        ``over``; ``failed``: it is to be given up
    text
        the same in words
    run
        what is to be requested
    attempts
        made in vain
    """

    step: Literal["wait", "go", "held_up", "over", "failed"]
    text: str
    run: dg.RunRequest | None = None
    attempts: int = 0


def open_retrains(
    history: Sequence[RetrainEvent], now: datetime, age: timedelta, closed: Collection[str] = ()
) -> tuple[RetrainEvent, ...]:
    """Retrains that were asked for and may not have come to their end: the newest full one, and a later update.

    A full retrain asks for all that earlier ones asked for. One that is older than `age`, by which runs are pruned, is
    taken to have ended. Events from after `now` (the clock was wrong) hide no earlier one.
    """
    asked = [e for e in history if e.outcome == "requested" and e.failed_at is None and abs(now - e.at) <= age]
    found: list[RetrainEvent] = []
    for events in ([e for e in asked if e.at <= now], [e for e in asked if e.at > now]):
        full = [e for e in events if e.kind == "full"][-1:]
        found += full + [e for e in events if e.kind == "update" and (not full or e.at > full[0].at)][-1:]
    return tuple(event for event in found if event.event_id not in closed)


def asked_for(house: House, kind: Kind, updates: Collection[str]) -> frozenset[str]:
    """First names of the trained assets that a retrain is about: all, or those of an update."""
    if kind == "full":
        return frozenset(trained_families(house))
    return frozenset(house.declaration(name).names[0] for name in updates)


def reach_of(house: House, asked: Collection[str]) -> Reach:
    """What a retrain of some trained assets, by their first names, can do now.

    Raises
    ------
    ConfigError
        if only the configuration of this process differs from that by which the home was built.
    """
    judged, families = house.freshness(), trained_families(house)
    found = plan(judged)
    ready, held_up = set(), {}
    for name in (name for name in families if name in asked):
        head = judged.judge(name, None)
        if head.state is State.WAITING:
            held_up[name] = _some(head.reasons)
        elif any(found.affected.get(member) for member in families[name]):
            ready.add(name)
        elif quarantined := _quarantined_above(judged, name):
            held_up[name] = f"waits for {_some(quarantined)} (quarantined)"
    if not ready:
        return Reach(None, held_up)
    trained: frozenset[str] = frozenset().union(*families.values())
    released: frozenset[str] = frozenset().union(*(families[name] for name in ready))
    found = without(found, trained - released)
    refuse_mere_configuration(found)
    return Reach(request_of(found, house, judged), held_up)


def run_of(event: RetrainEvent, reach: Reach) -> dg.RunRequest | None:
    """The run of a retrain with its reasons in tags; None where nothing can be done."""
    if reach.request is None:
        return None
    figures = {reason.name: dict(reason.figures) for reason in event.reasons if reason.figures}
    tags = {
        EVENT_TAG: event.event_id,
        KIND_TAG: event.kind,
        REASONS_TAG: ", ".join(dict.fromkeys(reason.name for reason in event.reasons)),
        FIGURES_TAG: json.dumps(figures, sort_keys=True)[:TAG_LENGTH],
    }
    held_up = {HELD_UP_TAG: ", ".join(reach.held_up)} if reach.held_up else {}
    return run_request(reach.request, tags | held_up)


def standing_of(
    house: House,
    instance: dg.DagsterInstance,
    event: RetrainEvent,
    now: datetime,
    policy: RetryPolicy,
    updates: Collection[str],
) -> Standing:
    """How far a retrain has come; it wants a run where it has none, after a failure, and over what was held up."""
    called = f"retrain {event.event_id[:8]}"
    records = instance.get_run_records(dg.RunsFilter(tags={EVENT_TAG: event.event_id}))  # newest first
    if any(record.dagster_run.status in UNFINISHED for record in records):
        return Standing("wait", f"{called} is under way")
    if records and records[0].dagster_run.status is dg.DagsterRunStatus.CANCELED:
        return Standing("over", f"{called} was cancelled")
    asked = asked_for(house, event.kind, updates)
    ends = {
        record.dagster_run.run_id: _left_by(instance, record.dagster_run, asked)
        for record in records
        if record.dagster_run.status is dg.DagsterRunStatus.SUCCESS
    }
    left = next(iter(ends.values())).left if ends else asked
    if not left:
        return Standing("over", f"{called} is done")
    attempts = len(records) - sum(bool(end.trained) for end in ends.values())
    if attempts >= policy.attempts:
        text = f"{called} failed {attempts} times; look at its newest run, mend the cause"
        return Standing("failed", text, attempts=attempts)
    if attempts and (waits := _next_attempt(records, attempts, now, policy)):
        return Standing("wait", f"attempt {attempts} of {policy.attempts} at {called} failed; {waits}")
    reach = reach_of(house, left)
    run = run_of(event, reach)
    if run is not None:
        return Standing("go", called, run)
    if reach.held_up:
        return Standing("held_up", f"{called} is not done: {reach.told}")
    return Standing("over", f"{called} is done" if ends else "what was to be retrained is current by now")


@dataclass(frozen=True)
class _End:
    """Which of the models asked for a run has trained, and which it left undone though it was to train them."""

    trained: frozenset[str]
    left: frozenset[str]


def _left_by(instance: dg.DagsterInstance, run: dg.DagsterRun, asked: frozenset[str]) -> _End:
    """What a run that succeeded came to.

    Left undone is what was held up when it was requested, and what it found waiting, or no newer than before, when it
    came to it: something above may have been quarantined on the way.
    """
    left = set(filter(None, run.tags.get(HELD_UP_TAG, "").split(", ")))
    trained: set[str] = set()
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        made = entry.asset_materialization
        if made is None:
            continue
        action = made.metadata.get("action")
        undone = action is not None and action.value in (WAITING, KEPT)
        (left if undone else trained).add("/".join(made.asset_key.path))
    return _End(asked & trained, asked & left - trained)


def _next_attempt(records: Sequence[dg.RunRecord], attempts: int, now: datetime, policy: RetryPolicy) -> str:
    """When the next attempt comes, in words; empty where it may come now."""
    ended = max(record.end_time or record.update_timestamp.timestamp() for record in records)
    wait = timedelta(seconds=policy.wait(attempts))
    due = datetime.fromtimestamp(ended, UTC).replace(tzinfo=None) + wait
    # A clock that was set back must not stretch the wait.
    return f"the next comes at {due:%Y-%m-%d %H:%M:%S} UTC" if now < due <= now + wait else ""


def _quarantined_above(judged: Freshness, name: str) -> list[str]:
    """Quarantined partitions that an asset would learn from, directly or through others."""
    found: list[str] = []
    todo: list[tuple[str, Key]] = [(name, key) for key in judged.nodes[name].partitions()]
    seen = set(todo)
    while todo:
        reader, key = todo.pop()
        for window in judged.nodes[reader].reads:
            if window.asset.startswith("source:"):
                continue
            for place in ((window.asset, read) for read in judged.window_keys(window, key)):
                if place in seen:
                    continue
                seen.add(place)
                todo.append(place)
                if judged.judge(*place).state is State.QUARANTINED:
                    found.append(" ".join(filter(None, place)))
    return sorted(found)


def _some(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:SHOWN])
    return shown if len(texts) <= SHOWN else f"{shown} and {len(texts) - SHOWN} more"
