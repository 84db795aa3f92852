"""Polling the services after each close: a job that collects, and the sensor that asks for it.

Off unless a collector is configured. The sensor looks at the landing folder's manifest: while a closed session is
missing there, it requests a run, again and again with growing pauses, a bounded number of times for one session; a day
on which nobody was there is caught up by the next poll. New files are then noticed by the freshness sensor.
"""

# No `from __future__ import annotations`: Dagster reads the annotation of an op's context itself.
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from butterquant_assets.automation.runs import UNFINISHED
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.collect_progress import CollectConfig, last_closed_session, pending
from butterquant_assets.market.sources.collector import VIX_ENTRY, Collection, client_of, collect, symbols_of
from butterquant_assets.market.sources.landing import Landing

COLLECT = "collect"
INTERVAL_SECONDS = 60
LONGEST_PAUSE = timedelta(hours=4)


def require_landing(config: CollectConfig, source: str, folder: Path | None) -> Path:
    """The folder to collect into: the one the home reads.

    Raises
    ------
    ConfigError
        if the home reads something else.
    """
    if source != "files" or folder is None:
        raise ConfigError(
            f"collect is configured ({len(config.symbols)} symbols), but the home reads source {source!r}: collect "
            "feeds source 'files'; make such a home, or unset BUTTERQUANT_COLLECT__SYMBOLS and __SYMBOLS_FILE"
        )
    return folder


def build_collect_job(config: CollectConfig, folder: Path) -> dg.JobDefinition:
    """A job that asks for everything that is missing in the landing folder."""

    @dg.op(name="collect_sessions", description="Polls Yahoo and CBOE and lands what they say.")
    def collect_sessions(context: dg.OpExecutionContext) -> None:
        with client_of(config) as client:
            done = collect(folder, config, symbols_of(config), client, pending_only=True)
        for problem in done.problems:
            context.log.warning(problem)
        context.add_output_metadata(
            {
                "session": done.closed,
                "asked": done.asked,
                "landed": done.collected,
                "rows added": done.added,
                "rows revised": done.revised,
                "files changed": len(done.files),
                "still missing": ", ".join(done.pending[:50]) or "nothing",
                "problems": dg.MetadataValue.md("\n".join(f"- {each}" for each in done.problems[:50]) or "none"),
            }
        )
        if done.asked and not done.collected:
            raise dg.Failure(f"nothing of {done.asked} could be collected: {_first(done)}", allow_retries=False)

    @dg.job(
        name=COLLECT,
        description="Lands the sessions the services have and the folder has not.",
        executor_def=dg.in_process_executor,
    )
    def collect_job() -> None:
        collect_sessions()

    return collect_job


def build_collect_sensor(
    config: CollectConfig, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dg.SensorDefinition:
    """The sensor that requests `collect` while a closed session is missing.

    Parameters
    ----------
    config
        cadence and tickers
    folder
        landing folder
    now
        clock, UTC
    """

    @dg.sensor(
        name=COLLECT,
        job_name=COLLECT,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a poll of the services while a closed session is missing in the landing folder.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        instant = now()
        closed = str(last_closed_session(instant, config.settle_minutes))
        waiting = missing(config, folder, instant)
        if not waiting:
            return dg.SkipReason(f"everything is collected through {closed}")
        if active := context.instance.get_runs(dg.RunsFilter(job_name=COLLECT, statuses=UNFINISHED), limit=1):
            return dg.SkipReason(f"run {active[0].run_id[:8]} is collecting")
        attempts, asked = polls(context.cursor, closed)
        if attempts >= config.attempts:
            return dg.SkipReason(
                f"{len(waiting)} are not complete through {closed} after {attempts} polls ({', '.join(waiting[:5])}): "
                "the next session is awaited; see the newest run of the job, or run `butterquant collect`"
            )
        if attempts and asked <= instant < (due := asked + pause(config, attempts)):
            return dg.SkipReason(f"{len(waiting)} are not complete through {closed}; asked again at {due:%H:%M} UTC")
        cursor = {"session": closed, "attempts": attempts + 1, "at": instant.isoformat()}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    tags={
                        "butterquant/session": closed,
                        "butterquant/reason": f"{len(waiting)} not complete, poll {attempts + 1}",
                    }
                )
            ],
            cursor=json.dumps(cursor),
        )

    return sensor


def polls(cursor: str | None, session: str) -> tuple[int, datetime]:
    """Polls for a session that a cursor remembers, and when the last one was; none where it is not understood."""
    try:
        tried = json.loads(cursor or "{}")
        if tried.get("session") == session:
            return int(tried["attempts"]), datetime.fromisoformat(tried["at"]).astimezone(UTC)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # of another version: the session is asked for afresh
    return 0, datetime.min.replace(tzinfo=UTC)


def missing(config: CollectConfig, folder: Path, now: datetime) -> tuple[str, ...]:
    """What is not complete through the last closed session."""
    manifest = Landing(folder).manifest()
    names = [*([VIX_ENTRY] if config.vix else []), *symbols_of(config)]
    closed = last_closed_session(now, config.settle_minutes)
    return pending({**manifest.symbols, VIX_ENTRY: manifest.vix}, names, closed)


def pause(config: CollectConfig, attempts: int) -> timedelta:
    """Time to wait after so many polls for one session: the configured one, doubled each time, at most four hours."""
    return min(timedelta(minutes=config.every_minutes * 2.0 ** min(attempts - 1, 10)), LONGEST_PAUSE)


def _first(done: Collection) -> str:
    return done.problems[0] if done.problems else "no reason was given"
