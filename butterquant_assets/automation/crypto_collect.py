"""Collecting from the exchange every hour: a job, and the schedule that runs it.

Running by default where the crypto house reads the collector's store, from the first start on: open interest and taker
volume are gone after days if nobody asked. New files are then noticed by the house's freshness sensor.
"""

# No `from __future__ import annotations`: Dagster reads the annotation of an op's context itself.
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from butterquant_assets.automation.runs import UNFINISHED
from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.crypto_config import CryptoConfig

if TYPE_CHECKING:
    from butterquant_assets.market.collector.collection import CryptoCollection

COLLECT_CRYPTO = "collect_crypto"
CRON = "2 * * * *"
"""Two minutes past the hour: the bar has closed, and the exchange's statistics have had time to appear."""

Collect = Callable[[CryptoConfig, Path], "CryptoCollection"]
PROBLEMS_SHOWN = 50


def build_crypto_collect_job(config: CryptoConfig, folder: Path, collect: Collect | None = None) -> dg.JobDefinition:
    """A job that brings the store up to the last closed hour.

    Parameters
    ----------
    config
        crypto section of the settings
    folder
        the store
    collect
        does it; by default the collector, which is imported when the job runs
    """

    @dg.op(name="collect_hours", description="Asks the exchange for what is new, missing or may have changed.")
    def collect_hours(context: dg.OpExecutionContext) -> None:
        try:
            done = (collect or _collector())(config, folder)
        except SourceError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for problem in done.problems:
            context.log.warning(problem)
        context.add_output_metadata(
            {
                "up to": done.at,
                "coins": len(done.coins),
                "files changed": sum(done.changed.values()),
                "days over but not complete": done.incomplete_days,
                "requests": done.requests,
                "sent again": done.retried,
                "not complete": _listed(f"{name} {words}" for name, words in done.incomplete.items()),
                "problems": _listed(done.problems[:PROBLEMS_SHOWN]),
            }
        )

    @dg.job(
        name=COLLECT_CRYPTO,
        description="Stores what the exchange has and the store has not.",
        executor_def=dg.in_process_executor,
    )
    def collect_crypto_job() -> None:
        collect_hours()

    return collect_crypto_job


def build_crypto_collect_schedule(config: CryptoConfig) -> dg.ScheduleDefinition:
    """The hourly schedule of the job; running by default where the store is what the crypto house reads."""

    @dg.schedule(
        name=f"{COLLECT_CRYPTO}_hourly",
        job_name=COLLECT_CRYPTO,
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if config.source == "okx" else dg.DefaultScheduleStatus.STOPPED,
        description="Every hour: what the exchange has and the store has not.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        active = context.instance.get_runs(dg.RunsFilter(job_name=COLLECT_CRYPTO, statuses=UNFINISHED), limit=1)
        if active:
            return dg.SkipReason(
                f"run {active[0].run_id[:8]} is collecting; it fills what has closed since at the next"
            )
        return dg.RunRequest()

    return schedule


def _collector() -> Collect:
    from butterquant_assets.market.collector.collection import collect_crypto

    return collect_crypto


def _listed(lines: Iterable[str]) -> dg.MetadataValue:
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or "none")
