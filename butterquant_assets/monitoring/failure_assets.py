"""`monitoring/failed_partitions` as a Dagster asset.

It states how things stand at a moment, from the lake and from the history of runs, so freshness has no say in it: it is
no declared asset of the lake, nothing makes it stale, and a schedule materialises it daily.

Dagster reads the annotations of these functions, so they must not be postponed to strings.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
import pandas as pd
from dagster import DagsterEventType, EventLogRecord

from butterquant_assets.foundation.errors import SchemaError
from butterquant_assets.foundation.freshness import Key
from butterquant_assets.monitoring.alert_text import scrubbed
from butterquant_assets.monitoring.alerts import quarantined
from butterquant_assets.monitoring.failed_partitions import (
    CONTRACT,
    NAME,
    Partition,
    PastRun,
    Rejection,
    inventory,
    stale_partitions,
)
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, OWNERS, asset_key
from butterquant_assets.orchestration.house import House, joint_freshness
from butterquant_assets.orchestration.metadata import table_schema
from butterquant_assets.orchestration.rebuild import QUARANTINED

LISTED = 20
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
PARTITION = "dagster/partition"
PAGE = 200
MOST_RUNS = 20_000
"""Runs that are looked through; two hourly jobs leave half as many before the oldest are pruned."""
REJECTIONS = 50


def build_failed_partitions(
    house: House, max_attempts: int, secrets: tuple[str, ...] = (), others: Sequence[House] = ()
) -> dg.AssetsDefinition:
    """The asset.

    Parameters
    ----------
    house
        whose partitions
    max_attempts
        failed runs after which the freshness sensor starts no further one
    secrets
        struck out of error messages
    others
        further houses of the same home, whose partitions are looked at too
    """

    @dg.asset(
        key=asset_key(NAME),
        group_name=NAME.split("/")[0],
        io_manager_key=IO_MANAGER_KEY,
        owners=list(OWNERS),
        kinds={"parquet"},
        description=CONTRACT.schema.description,
        metadata={"dagster/column_schema": table_schema(CONTRACT), "keys": ", ".join(CONTRACT.keys)},
    )
    def failed_partitions(context: dg.AssetExecutionContext) -> pd.DataFrame:
        frame = take_inventory((house, *others), context.instance, max_attempts, secrets)
        context.add_output_metadata(
            {
                "dagster/row_count": len(frame),
                **{state: int(count) for state, count in frame["state"].value_counts().items()},
                "which": dg.MetadataValue.md(listing(frame)),
            }
        )
        return frame

    return failed_partitions


def take_inventory(
    houses: Sequence[House], instance: dg.DagsterInstance, max_attempts: int, secrets: tuple[str, ...] = ()
) -> pd.DataFrame:
    """The table as it stands now; see `failed_partitions.CONTRACT`.

    Raises
    ------
    SchemaError
        if it breaks its contract, which is an error of this package.
    """
    freshness = joint_freshness(houses)
    steps = {made.compute.__name__: made.names for house in houses for made in house.declarations}
    bad = {(name, key): held for name in freshness.nodes for key, held in quarantined(freshness, name).items()}
    refused = {at: rejections(instance, *at, held.footer.content if held.footer else None) for at, held in bad.items()}
    frame = inventory(freshness, past_runs(instance, steps, stale_partitions(freshness)), refused, max_attempts)
    frame = frame.assign(reason=[scrubbed(text, secrets) for text in frame["reason"]]).astype({"reason": "str"})
    (verdict,) = CONTRACT.validate_all([frame])
    if not verdict.passed:
        raise SchemaError(f"{NAME} breaks its contract: {'; '.join(verdict.reasons())}; please report it")
    return frame


def listing(frame: pd.DataFrame) -> str:
    """The first rows as a Markdown list."""
    if not len(frame):
        return "none"
    lines = [
        "- {asset} {partition}: {state} after {attempts} attempts: {reason}".format_map(row)
        + (f"; {row['waiting_partitions']} partitions wait for it" if row["waiting_partitions"] else "")
        for row in frame.head(LISTED).to_dict("records")
    ]
    return "\n".join(lines + ([f"- and {len(frame) - LISTED} more"] if len(frame) > LISTED else []))


# -- what Dagster's instance knows, as plain values


def failure_of(instance: dg.DagsterInstance, run_id: str) -> tuple[str, tuple[str, ...]]:
    """The innermost error of a failed run, and the steps that failed; no steps where it failed outside of them."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    message, steps = "", []
    for record in instance.get_records_for_run(run_id, of_type=kinds).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure and event.step_key is not None:
            steps.append(event.step_key)
            message = message if len(steps) > 1 else _innermost(event.step_failure_data.error)
        elif not steps:
            error = getattr(event.event_specific_data, "error", None)  # none where another process reported the end
            message = _innermost(error) or (event.message or "").strip()
    return message, tuple(steps)


def months_of(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """First and last month (day) that a run was to make, by its tags; None where it had none."""
    if PARTITION in tags:
        return tags[PARTITION], tags[PARTITION]
    return (tags[RANGE[0]], tags[RANGE[1]]) if RANGE[0] in tags and RANGE[1] in tags else None


def planned_steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> frozenset[str]:
    """The steps a run was to execute."""
    plan = run.execution_plan_snapshot_id and instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return frozenset(plan.step_keys_to_execute) if plan else frozenset()


def past_runs(
    instance: dg.DagsterInstance, assets_of_step: Mapping[str, Sequence[str]], wanted: Collection[Partition]
) -> list[PastRun]:
    """Runs that succeeded or failed, newest first, back to the last success of everything wanted.

    Parameters
    ----------
    instance
        of Dagster
    assets_of_step
        assets by the name of the step that makes them; runs without such a step are left out
    wanted
        partitions whose history is asked for
    """
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    found: list[PastRun] = []
    open_, plans, last = set(wanted), dict[str | None, frozenset[str]](), None
    for _ in range(0, MOST_RUNS, PAGE):
        records = instance.get_run_records(dg.RunsFilter(statuses=statuses), limit=PAGE, cursor=last) if open_ else []
        if not records:
            break
        last = records[-1].dagster_run.run_id
        page = list[PastRun]()
        for record in records:
            run = record.dagster_run
            # Hourly runs of one job have one plan; it says what a run was about where nothing was selected.
            plan = run.execution_plan_snapshot_id
            if plan not in plans:
                plans[plan] = planned_steps(instance, run)
            made = frozenset(name for step in plans[plan] for name in assets_of_step.get(step, ()))
            if made:
                page.append(_past_run(instance, record, made, assets_of_step))
        found += page
        successes = [run for run in page if run.success]
        open_ = {at for at in open_ if not any(run.covers(*at) for run in successes)}
    return sorted(found, key=lambda run: run.at, reverse=True)


def _past_run(
    instance: dg.DagsterInstance,
    record: dg.RunRecord,
    made: frozenset[str],
    assets_of_step: Mapping[str, Sequence[str]],
) -> PastRun:
    run = record.dagster_run
    success = run.status is dg.DagsterRunStatus.SUCCESS
    message, steps = ("", ()) if success else failure_of(instance, run.run_id)
    ended = (
        datetime.fromtimestamp(record.end_time, UTC)
        if record.end_time is not None
        else record.update_timestamp.astimezone(UTC)
    )
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    return PastRun(
        run.run_id,
        ended,
        success,
        made & selected if selected else made,
        months_of(run.tags),
        frozenset(name for step in steps for name in assets_of_step.get(step, ())),
        message,
    )


def rejections(instance: dg.DagsterInstance, name: str, key: Key, published: str | None) -> list[Rejection]:
    """Quarantined frames of a partition since its last success, newest first, at most 50.

    Parameters
    ----------
    instance
        of Dagster
    name, key
        asset ``group/name`` and partition
    published
        content hash of the good file that is still there; None where there is none. A run that leaves a quarantined
        partition alone reports that file, and is no attempt.
    """
    asked = dg.AssetRecordsFilter(dg.AssetKey(name.split("/")), asset_partitions=None if key is None else [key])
    found = []
    for record in instance.fetch_materializations(asked, limit=REJECTIONS).records:
        said = _metadata(record)
        if said.get("action") != QUARANTINED:
            break
        if said.get("content") not in (None, published):
            identity = "|".join(said.get(part, "") for part in ("content", "code version", "configuration"))
            found.append(Rejection(datetime.fromtimestamp(record.timestamp, UTC), record.run_id, identity))
    return found


def _metadata(record: EventLogRecord) -> dict[str, str]:
    materialization = record.asset_materialization
    return {name: str(value.value) for name, value in materialization.metadata.items()} if materialization else {}


def _innermost(error: object) -> str:
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    return str(getattr(error, "message", "")).strip()
