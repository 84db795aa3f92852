"""The weekly pruning: a job and its schedule.

What belongs here: when it is done, and what is told of it. What does not: what may go (`orchestration.pruning`).

Dagster reads the annotations of these functions, so they must not be postponed to strings.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import dagster as dg

from butterquant_assets.orchestration.house import House, utc_now
from butterquant_assets.orchestration.pruning import prune

JOB = "prune"
CRON = "15 4 * * 0"


def build_prune_job(
    houses: Sequence[House], older_than_days: int, now: Callable[[], datetime] = utc_now
) -> dg.JobDefinition:
    """A job that removes what has outlived its use, as `butterquant prune` does.

    Parameters
    ----------
    houses
        all houses of the home
    older_than_days
        what is younger stays
    now
        the clock
    """

    @dg.op(name="prune_home", description="Old runs, superseded files, and models that nothing refers to, removed.")
    def prune_home(context: dg.OpExecutionContext) -> None:
        report = prune(
            houses, context.instance, older_than_days=older_than_days, now=now(), sparing=[context.run_id]
        ).to_json()
        counted = {f"removed: {kind}": count for kind, count in report["counts"].items()}
        freed = {f"bytes: {kind}": count for kind, count in report["bytes"].items()}
        context.add_output_metadata({"older than days": older_than_days, **counted, **freed, **report["kept"]})

    @dg.job(name=JOB, description=f"Removes what has outlived its use and is older than {older_than_days} days.")
    def prune_job() -> None:
        prune_home()

    return prune_job


def build_prune_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every Sunday morning."""
    return dg.ScheduleDefinition(
        name="prune_weekly",
        job=job,
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every Sunday: what has outlived its use is removed, so that the event log does not grow for ever.",
    )
