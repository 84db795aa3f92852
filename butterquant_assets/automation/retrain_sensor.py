"""The retrain sensor: lets the models learn when there is a reason to, and records which reason it was.

What belongs here: turning a decision into an event and a run. What does not: the policy (`retraining`), measuring
drift or decay (`monitoring`), and what a model learns from (the lines).

A model is a pure function of what it reads, so a retrain on the same rows would give the same model. A retrain
therefore releases what the freshness sensor holds back: models whose training rows, feedback or code have changed
since. Where nothing has, the event says that there was nothing new to learn from.

The event is written before the run is requested, and carried by the run as a tag. So a daemon that dies in between
neither forgets the retrain (an event without a run is requested again) nor repeats it (one with a run is not).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.requests import refuse_mere_configuration, request_of, trained_families, without
from butterquant_assets.automation.retraining import Condition, Decision, RetrainConfig, decide
from butterquant_assets.automation.retries import RetryPolicy
from butterquant_assets.automation.runs import UNFINISHED, fail_dead_runs
from butterquant_assets.automation.sensors import POLICY, run_request
from butterquant_assets.foundation.errors import ButterQuantError, DamagedFileError
from butterquant_assets.foundation.freshness import State, plan
from butterquant_assets.foundation.retrain_log import Kind, Reason, RetrainEvent, RetrainLog, new_event
from butterquant_assets.orchestration.house import House

INTERVAL_SECONDS = 60
EVENT_TAG, KIND_TAG = "butterquant/retrain", "butterquant/retrain-kind"
REASONS_TAG, FIGURES_TAG = "butterquant/retrain-reasons", "butterquant/retrain-figures"
# An event older than this whose runs are gone was pruned, not lost.
PENDING = timedelta(days=2)
TAG_LENGTH = 1000


@dataclass(frozen=True)
class CodeCondition:
    """Trained assets whose code is no longer what made them; a `Condition` whose occasion is the new code."""

    month: str
    text: str
    name: str = "code"
    fired: bool = True

    @property
    def figures(self) -> dict[str, float]:
        """None: code is the same or is not."""
        return {}


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
            pending = _pending(context, history, now)
            if pending is not None:
                return _resume(house, context.instance, pending, now, policy, updates)
            active = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1)
            conditions = (*signals(house), *code_conditions(house))
            decision = decide(now, history, conditions, config, in_flight=bool(active))
            if decision.action in ("none", "wait"):
                return dg.SkipReason(decision.text)
            return _retrain(house, log, decision, now, take, updates)
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


def _pending(
    context: dg.SensorEvaluationContext, history: Sequence[RetrainEvent], now: datetime
) -> RetrainEvent | None:
    """The newest retrain that was decided on and has not come to an end."""
    newest = next((event for event in reversed(history) if event.outcome == "requested"), None)
    if newest is None or abs(now - newest.at) > PENDING or context.cursor == newest.event_id:
        return None
    return newest


def _resume(
    house: House,
    instance: dg.DagsterInstance,
    event: RetrainEvent,
    now: datetime,
    policy: RetryPolicy,
    updates: Collection[str],
) -> dg.SensorResult | dg.SkipReason:
    """Follow a retrain to its end: ask for its run where there is none, and again after a failure."""
    records = instance.get_run_records(dg.RunsFilter(tags={EVENT_TAG: event.event_id}))
    states = {record.dagster_run.status for record in records}
    if states & set(UNFINISHED):
        return dg.SkipReason(f"retrain {event.event_id[:8]} is under way")
    if dg.DagsterRunStatus.SUCCESS in states:
        return dg.SensorResult(skip_reason=f"retrain {event.event_id[:8]} is done", cursor=event.event_id)
    if dg.DagsterRunStatus.CANCELED in states:
        return dg.SensorResult(skip_reason=f"retrain {event.event_id[:8]} was cancelled", cursor=event.event_id)
    if len(records) >= policy.attempts:
        text = f"retrain {event.event_id[:8]} failed {len(records)} times; look at its newest run, mend the cause"
        return dg.SensorResult(skip_reason=text, cursor=event.event_id)
    if records:
        ended = max(record.end_time or record.update_timestamp.timestamp() for record in records)
        due = datetime.fromtimestamp(ended + policy.wait(len(records)), UTC).replace(tzinfo=None)
        if now < due:
            return dg.SkipReason(
                f"attempt {len(records)} of {policy.attempts} at retrain {event.event_id[:8]} failed; the next comes "
                f"at {due:%Y-%m-%d %H:%M:%S} UTC"
            )
    run = _run_of(house, event, updates)
    if run is None:
        return dg.SensorResult(skip_reason="what was to be retrained is current by now", cursor=event.event_id)
    return dg.SensorResult(run_requests=[run])


def _retrain(
    house: House,
    log: RetrainLog,
    decision: Decision,
    now: datetime,
    take: Callable[[House, datetime], int],
    updates: Collection[str],
) -> dg.SensorResult | dg.SkipReason:
    if house.code_has_changed():
        return dg.SkipReason("the code on disk is newer than the code loaded here: reload the code location")
    kind: Kind = "full" if decision.action == "full" else "update"
    # An update learns from the scans themselves; feedback taken for it would lie unread until the next full retrain.
    added = take(house, now) if kind == "full" else 0
    wanted = new_event(now, kind, "requested", added, decision.reasons)
    run = _run_of(house, wanted, updates)
    if run is None and (waits := _waiting(house)):
        return dg.SkipReason(f"{waits}; until then this waits: {decision.text}")
    if run is None:
        log.record(new_event(now, kind, "nothing_new", added, decision.reasons))
        return dg.SkipReason(f"nothing new to learn from, though: {decision.text}")
    log.record(wanted)
    return dg.SensorResult(run_requests=[run])


def _waiting(house: House) -> str:
    """What keeps a trained asset from being made at all; empty where nothing does."""
    freshness = house.freshness()
    judged = {name: freshness.judge(name, None) for name in trained_families(house)}
    return "; ".join(f"{name} {', '.join(j.reasons)}" for name, j in judged.items() if j.state is State.WAITING)


def _run_of(house: House, event: RetrainEvent, updates: Collection[str]) -> dg.RunRequest | None:
    """The run over what an event releases, and over all that it reads and that reads it; None when that is current."""
    judged = house.freshness()
    families = trained_families(house)
    asked = families if event.kind == "full" else {house.declaration(name).names[0] for name in updates}
    trained: frozenset[str] = frozenset().union(*families.values())
    released: frozenset[str] = frozenset().union(*(families[name] for name in families if name in asked))
    found = without(plan(judged), trained - released)
    if not any(found.affected.get(name) for name in released):
        return None
    refuse_mere_configuration(found)
    return run_request(request_of(found, house, judged), _tags(event))


def _tags(event: RetrainEvent) -> dict[str, str]:
    figures = {reason.name: dict(reason.figures) for reason in event.reasons if reason.figures}
    return {
        EVENT_TAG: event.event_id,
        KIND_TAG: event.kind,
        REASONS_TAG: ", ".join(dict.fromkeys(reason.name for reason in event.reasons)),
        FIGURES_TAG: json.dumps(figures, sort_keys=True)[:TAG_LENGTH],
    }
