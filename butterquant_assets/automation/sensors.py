"""The freshness sensor: a plain one with a cursor, on the same freshness the command line uses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import dagster as dg

from butterquant_assets.automation.failed_runs import newest_outcome
from butterquant_assets.automation.jobs import refresh_name
from butterquant_assets.automation.landing import look
from butterquant_assets.automation.missing_events import report_missing_events
from butterquant_assets.automation.requests import (
    FINGERPRINT_TAG,
    Request,
    refuse_mere_configuration,
    request_of,
    waiting_for_retrain,
    without,
)
from butterquant_assets.automation.retries import Attempts, Brake, RetryPolicy, next_step
from butterquant_assets.automation.runs import UNFINISHED, fail_dead_runs
from butterquant_assets.foundation.errors import ButterQuantError
from butterquant_assets.foundation.freshness import plan
from butterquant_assets.foundation.lake import combine
from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.house import House

INTERVAL_SECONDS = 4
"""Less than the 5 s after which the daemon comes round: asked for 5, it would often find 4.99 and pass a round over."""
FULL_LOOK_SECONDS = 30.0
POLICY = RetryPolicy()
MAX_ATTEMPTS = POLICY.attempts
MOST_EVENTS = 200
"""Most events of failed runs that one tick reports: the daemon gives a tick 60 s, and SQLite takes 30 ms an event."""


@dataclass(frozen=True)
class Memory:
    """What the sensor remembers from tick to tick; its cursor.

    Parameters
    ----------
    landing
        digest of the landing folder at the last look; None before the first
    next_look
        seconds since 1970 before which nothing but the landing folder is looked at
    tried
        attempts at what was found stale since everything was last current
    brake
        failures in a row, whatever their inputs were
    """

    landing: str | None = None
    next_look: float = 0.0
    tried: tuple[Attempts, ...] = ()
    brake: Brake = field(default_factory=Brake)

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Memory:
        """Inverse of `to_cursor`; of a cursor of another version what is understood, and nothing of a broken one."""
        try:
            held = json.loads(cursor or "{}")
            tried = tuple(Attempts.of(attempts) for attempts in held.get("tried", ()))
            landing, brake = held.get("landing"), Brake.of(held.get("brake", {}))
            return cls(None if landing is None else str(landing), float(held.get("next_look", 0.0)), tried, brake)
        except (ValueError, TypeError, KeyError, AttributeError):
            # It costs one look too many; an error would come back with every tick.
            return cls()

    def to_cursor(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def build_freshness_sensor(
    house: House,
    *,
    name: str = "freshness",
    beside: Collection[str] = (),
    hold_training: bool = False,
    policy: RetryPolicy = POLICY,
    clock: Callable[[], float] = time.time,
) -> dg.SensorDefinition:
    """A sensor that requests ONE run for everything stale.

    One run in flight at a time. What fails is tried again a bounded number of times, ever later; something new (other
    partitions, other inputs) starts a fresh count, and is waited with only where run after run has failed whatever was
    new (`retries.RetryPolicy`). No ``run_key``: it would deduplicate for ever, and a correction that
    is later reverted and made again must be seen again.

    A tick first looks at the landing folder, which costs milliseconds. While a file there changes between two ticks it
    is still being written, and nothing is read. Everything else is looked at every half minute, also whether failed
    runs published something that they did not live to report.

    Parameters
    ----------
    house
        the house
    name
        of the sensor
    beside
        jobs whose runs write nothing the house reads, or nothing that its look at the landing folder would miss: it
        waits for no run of theirs
    hold_training
        leave models that are stale only because there is something newer to learn from, or because their code or
        configuration changed, to the retrain sensor. Without such a sensor they would never be retrained.
    policy
        how often a failure is tried again
    clock
        seconds since 1970
    """

    @dg.sensor(
        name=name,
        job_name=refresh_name(house),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests one run over everything stale: new or corrected data, changed code, deleted files.",
    )
    def freshness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        fail_dead_runs(context.instance)
        unfinished = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        active = [run for run in unfinished if run.job_name not in beside]
        if active:
            return dg.SkipReason(f"run {active[0].run_id[:8]} is under way")
        memory, now = Memory.from_cursor(context.cursor), clock()
        try:
            memory, settling = _landed(house, memory)
            if settling:
                return _skipped(settling, memory)
            # A clock that was set back must not keep the sensor from looking.
            if now < memory.next_look <= now + FULL_LOOK_SECONDS:
                return _skipped("nothing has landed since the last look; the next full look comes shortly", memory)
            memory = replace(memory, next_look=now + FULL_LOOK_SECONDS)
            report_missing_events(context.instance, house, most=MOST_EVENTS)
            return _tick(context.instance, house, memory, now, policy, hold_training)
        except (ButterQuantError, OSError) as error:
            return _skipped(str(error), replace(memory, next_look=now + FULL_LOOK_SECONDS))

    return freshness


def _landed(house: House, memory: Memory) -> tuple[Memory, str]:
    """The memory with the landing folder as it is now, and why it cannot be read yet (empty: it can)."""
    folder = house.landing
    if folder is None:
        return memory, ""
    seen = look(folder)
    if seen.digest == memory.landing:
        return memory, ""
    waits = (
        f"{folder / seen.newest} has changed since the last look: waiting until it stays the same for "
        f"{INTERVAL_SECONDS} s (a file that never does, and is no table of the source, belongs in another folder)"
    )
    return replace(memory, landing=seen.digest, next_look=0.0), waits


def _tick(
    instance: dg.DagsterInstance, house: House, memory: Memory, now: float, policy: RetryPolicy, hold_training: bool
) -> dg.SensorResult:
    judged = house.freshness()
    found = plan(judged)
    held = waiting_for_retrain(found, judged, house) if hold_training else frozenset()
    found = without(found, held)
    if found.nothing_to_do:
        waits = f"; {', '.join(sorted(held))} wait for a retrain" if held else ""
        return _skipped(f"everything is current{waits}", replace(memory, tried=(), brake=Brake()))
    if house.code_has_changed():
        return _skipped("the code on disk is newer than the code loaded here: reload the code location", memory)
    refuse_mere_configuration(found)
    request = request_of(found, house, judged)
    asked = [attempts.fingerprint for attempts in memory.tried]
    versions = combine(f"{node.code}{node.config}" for node in house.nodes)
    brake = memory.brake.after(newest_outcome(instance, refresh_name(house), asked), versions, now)
    memory = replace(memory, brake=brake)
    tried, step = next_step(memory.tried, request.fingerprint, now, policy)
    if step == "go" and now < (due := brake.due(policy, new=request.fingerprint not in asked)):
        return _skipped(_braked(brake, due), memory)
    memory = replace(memory, tried=tried)
    if step == "go":
        # The run's end is to be followed by a full look at once: it may have found more to do.
        cursor = replace(memory, next_look=0.0).to_cursor()
        return dg.SensorResult(run_requests=[run_request(request)], cursor=cursor)
    return _skipped(_waiting(tried[-1], policy) if step == "wait" else _exhausted(tried[-1]), memory)


def run_request(request: Request, tags: dict[str, str] | None = None) -> dg.RunRequest:
    """The Dagster run of a request."""
    selection = [asset_key(name) for name in request.assets]
    return dg.RunRequest(asset_selection=selection, tags={**request.tags, **(tags or {})})


def _waiting(attempts: Attempts, policy: RetryPolicy) -> str:
    due = datetime.fromtimestamp(attempts.due or 0.0, UTC)
    return (
        f"attempt {attempts.made} of {policy.attempts} left the same partitions stale; the next comes at "
        f"{due:%Y-%m-%d %H:%M:%S} UTC, or when something changes"
    )


def _braked(brake: Brake, due: float) -> str:
    return (
        f"{brake.total} runs in a row have failed, whatever was new; the next comes at "
        f"{datetime.fromtimestamp(due, UTC):%Y-%m-%d %H:%M:%S} UTC, or at once with other code or configuration"
    )


def _exhausted(attempts: Attempts) -> str:
    return (
        f"{attempts.made} runs have not cured the same stale partitions; look at the newest failed run "
        f"(tag {FINGERPRINT_TAG}={attempts.fingerprint}), mend the cause, or launch a run by hand"
    )


def _skipped(reason: str, memory: Memory) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=memory.to_cursor())
