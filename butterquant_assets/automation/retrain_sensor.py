"""The retrain sensor: lets the models learn when there is a reason to, and records which reason it was.

What belongs here: turning a decision into an event and a run, and following it to its end. What does not: the policy
(`retraining`), what an event releases (`retrain_runs`), measuring drift or decay (`monitoring`), and what a model
learns from (the lines).

A model is a pure function of what it reads, so a retrain on the same rows would give the same model. A retrain
therefore releases what the freshness sensor holds back: models whose training rows, feedback or code have changed
since. Where nothing has, the event says that there was nothing new to learn from; where what is new is quarantined,
the retrain waits for it.

The event is written before the run is requested, and carried by the run as a tag. So a daemon that dies in between
neither forgets the retrain (an event without a run is requested again) nor repeats it (one with a run is not). One
that was given up is recorded as such, so that its reasons may call for a retrain again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.requests import trained_families
from butterquant_assets.automation.retrain_runs import (
    Standing,
    asked_for,
    open_retrains,
    reach_of,
    run_of,
    standing_of,
)
from butterquant_assets.automation.retraining import CODE, Condition, Decision, RetrainConfig, decide
from butterquant_assets.automation.retries import RetryPolicy
from butterquant_assets.automation.runs import UNFINISHED, fail_dead_runs
from butterquant_assets.automation.sensors import POLICY
from butterquant_assets.foundation.errors import ButterQuantError, DamagedFileError
from butterquant_assets.foundation.retrain_log import Kind, Reason, RetrainEvent, RetrainLog, new_event
from butterquant_assets.orchestration.house import House

INTERVAL_SECONDS = 60
REMEMBERED = 8
"""Ends that the cursor holds: of more than four retrains the log itself tells that a later one took their place."""
CODE_CHANGED = "the code on disk is newer than the code loaded here: reload the code location"


@dataclass(frozen=True)
class CodeCondition:
    """Trained assets whose code is no longer what made them; a `Condition` whose occasion is the new code."""

    month: str
    text: str
    name: str = CODE
    fired: bool = True

    @property
    def figures(self) -> dict[str, float]:
        """None: code is the same or is not."""
        return {}


@dataclass(frozen=True)
class _Memory:
    """What the sensor's cursor holds.

    Parameters
    ----------
    ended
        retrains that have come to their end
    taken, at
        feedback rows that were taken for a retrain that could not start then, and when: they belong to the next event
    """

    ended: tuple[str, ...] = ()
    taken: int = 0
    at: datetime | None = None

    @classmethod
    def of(cls, cursor: str | None) -> _Memory:
        ended, _, rest = (cursor or "").partition(";")
        taken, _, at = rest.partition("@")
        known = tuple(filter(None, ended.split(",")))
        return cls(known, int(taken), datetime.fromisoformat(at)) if rest else cls(known)

    def cursor(self) -> str:
        rest = f";{self.taken}@{self.at.isoformat()}" if self.at else ""
        return ",".join(self.ended[-REMEMBERED:]) + rest

    def owed(self, history: Sequence[RetrainEvent]) -> int:
        """Rows taken that no event tells of; one that was recorded since told of them."""
        if self.at is None or any(event.kind == "full" and event.at > self.at for event in history):
            return 0
        return self.taken


def utc_now() -> datetime:
    """The time in UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def build_retrain_sensor(
    house: House,
    config: RetrainConfig,
    *,
    signals: Callable[[House], Sequence[Condition]],
    take: Callable[[House, datetime], int],
    updates: Collection[str],
    policy: RetryPolicy = POLICY,
    clock: Callable[[], datetime] = utc_now,
) -> dg.SensorDefinition:
    """A sensor that retrains on drift, on decay, on changed code, and after a week or a month.

    Parameters
    ----------
    house
        the home
    config
        bounds and periods
    signals
        conditions as the monitoring tables tell them now
    take
        takes realised outcomes up to a time (naive UTC) into what the models learn from, and returns how many rows
        were added; taking twice adds nothing
    updates
        trained assets that a weekly update releases; a full retrain releases all
    policy
        how often a failed retrain is tried again
    clock
        naive UTC
    """

    @dg.sensor(
        name="retraining",
        job_name=REFRESH,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Retrains the models on drift, decay, changed code, weekly and monthly, and records why.",
    )
    def retraining(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not config.enabled:
            return dg.SkipReason(decide(clock(), (), (), config).text)
        fail_dead_runs(context.instance)
        now, log = clock(), RetrainLog(house.settings.warehouse_location)
        try:
            history = log.events() or _first_look(log, now)
            active = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1)
            memory = _Memory.of(context.cursor)
            held_up = []
            for event in open_retrains(history, now, timedelta(days=house.settings.prune_after_days), memory.ended):
                stands = standing_of(house, context.instance, event, now, policy, updates)
                if stands.step != "held_up":
                    return _proceed(house, log, event, stands, now, memory, busy=bool(active))
                held_up.append(stands.text)
            conditions = (*signals(house), *code_conditions(house))
            decision = decide(now, history, conditions, config, in_flight=bool(active))
            if decision.action in ("none", "wait"):
                return dg.SkipReason("; ".join([*held_up, decision.text]))
            return _retrain(house, log, decision, now, take, updates, replace(memory, taken=memory.owed(history)))
        except (ButterQuantError, OSError) as error:
            return dg.SkipReason(str(error))

    return retraining


def _first_look(log: RetrainLog, now: datetime) -> tuple[RetrainEvent, ...]:
    """Begin the record: the models found in place are as new as the record, so periods count from now."""
    text = "watching begins; the models found in place count as trained now"
    reason = Reason("first_look", now.strftime("%Y-%m-%d"), {}, text)
    log.record(new_event(now, "full", "nothing_new", 0, (reason,)))
    return log.events()


def code_conditions(house: House) -> tuple[CodeCondition, ...]:
    """One condition when the code of trained assets has changed since they were made."""
    now = {node.name: node.code for node in house.nodes}
    changed = []
    for name in sorted(trained_families(house)):
        try:
            footer = house.lake.footer(name)
        except DamagedFileError:
            continue  # made again by the freshness sensor
        if footer is not None and footer.code != now[name]:
            changed.append(name)
    if not changed:
        return ()
    codes = "+".join(dict.fromkeys(now[name][:12] for name in changed))
    return (CodeCondition(codes, f"the code of {', '.join(changed)} has changed"),)


def _proceed(
    house: House,
    log: RetrainLog,
    event: RetrainEvent,
    stands: Standing,
    now: datetime,
    memory: _Memory,
    *,
    busy: bool,
) -> dg.SensorResult | dg.SkipReason:
    """Do what an open retrain needs next; the cursor takes it in when it has ended."""
    if stands.step == "go" and busy:
        return dg.SkipReason(f"a run is under way, so {stands.text} waits")
    if stands.step == "go" and house.code_has_changed():
        return dg.SkipReason(CODE_CHANGED)
    if stands.run is not None:
        return dg.SensorResult(run_requests=[stands.run])
    if stands.step == "wait":
        return dg.SkipReason(stands.text)
    if stands.step == "failed":
        log.record_failure(event.event_id, now, stands.attempts)
    cursor = replace(memory, ended=(*memory.ended, event.event_id)).cursor()
    return dg.SensorResult(skip_reason=stands.text, cursor=cursor)


def _retrain(
    house: House,
    log: RetrainLog,
    decision: Decision,
    now: datetime,
    take: Callable[[House, datetime], int],
    updates: Collection[str],
    memory: _Memory,
) -> dg.SensorResult | dg.SkipReason:
    if house.code_has_changed():
        return dg.SkipReason(CODE_CHANGED)
    kind: Kind = "full" if decision.action == "full" else "update"
    # An update learns from the scans themselves; feedback taken for it would lie unread until the next full retrain.
    added = memory.taken + take(house, now) if kind == "full" else 0
    wanted = new_event(now, kind, "requested", added, decision.reasons)
    reach = reach_of(house, asked_for(house, kind, updates))
    run = run_of(wanted, reach)
    if run is None and reach.held_up:
        waits = f"{reach.told}; until then this waits: {decision.text}"
        return dg.SensorResult(
            skip_reason=waits, cursor=(replace(memory, taken=added, at=now) if added else memory).cursor()
        )
    if run is None:
        log.record(new_event(now, kind, "nothing_new", added, decision.reasons))
        return dg.SkipReason(f"nothing new to learn from, though: {decision.text}")
    log.record(wanted)
    return dg.SensorResult(run_requests=[run])
