"""What the command line does by itself: runs, status, one analysis; and asking for a backfill.

Knows Dagster, and keeps it out of `cli`'s start-up. What does not belong here: Dagster's own processes, started or
configured over a home (`processes.py`).
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from butterquant_assets.definitions import (
    LOOK_AHEAD_MONTHS,
    LOOK_BACK_MONTHS,
    Settings,
    build_definitions,
    build_houses,
    open_market_source,
)
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.calendar import Unit, month_range, shift_month
from butterquant_assets.foundation.errors import ButterQuantError, ConfigError, DataError, SourceError
from butterquant_assets.foundation.files import sweep_temporaries
from butterquant_assets.foundation.freshness import Freshness, Plan, State, plan
from butterquant_assets.foundation.settings import BINDING_FILE
from butterquant_assets.monitoring.summary import asset_states, findings, signal_findings
from butterquant_assets.orchestration.house import CRYPTO, EQUITY, House
from butterquant_assets.orchestration.instance import INSTANCE, dagster_environment, prepare_home
from butterquant_assets.orchestration.rebuild import release_obsolete

if TYPE_CHECKING:
    import dagster as dg

MAX_ROUNDS = 4
WORST_FIRST = ("failed", "incomplete", "done", "current")
STATED = ("source", "start", "end", "seed", "edge", "data_dir")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def bring_up_to_date(settings: Settings, selection: str | None = None, only: str | None = None) -> dict[str, Any]:
    """Rebuild what is stale, one house after the other, and report; launches no run when everything is current.

    Parameters
    ----------
    settings
        all settings
    selection
        assets, in Dagster's selection syntax; by default all
    only
        name of the one house to look at; by default all

    Raises
    ------
    ConfigError
        for a selection that names nothing, or a house that the home does not have.
    ButterQuantError
        if another run holds the home directory, or the source of the only house to look at cannot be read.
    """
    failed: dict[str, SourceError] = {}
    houses = build_houses(settings, failed)
    if only in failed:
        raise failed[only]
    with _only_runner(settings.home):
        houses[0].lake.sweep()
        sweep_temporaries(settings.home / "plots")
        _account_for_dead_runs(houses, settings.home)
        wanted = _wanted(houses, settings, selection, only)
        done: dict[str, dict[str, Any]] = {}
        for house, chosen in wanted:
            try:
                done[house.name] = _bring(houses, house, settings, chosen)
            except ButterQuantError as error:
                # What is wrong with one source is no reason to leave the other house behind.
                if len(wanted) == 1 or isinstance(error, ConfigError):
                    raise
                done[house.name] = _failed(error)
    if only is None:
        done |= {name: _failed(error) for name, error in failed.items()}
    merged = {part: [entry for report in done.values() for entry in report[part]] for part in ("runs", "assets")}
    return {
        "status": next(state for state in WORST_FIRST if any(report["status"] == state for report in done.values())),
        **merged,
        "problems": [problem for report in done.values() for problem in report["problems"]],
        "findings": _findings(houses),
        "houses": {name: {"status": report["status"], "runs": report["runs"]} for name, report in done.items()},
    }


def _account_for_dead_runs(houses: Sequence[House], home: Path) -> None:
    """Mark runs whose process has died, and tell Dagster what failed runs published without telling."""
    from butterquant_assets.automation.missing_events import report_missing_events
    from butterquant_assets.automation.runs import fail_dead_runs
    from butterquant_assets.orchestration.event_batches import open_instance

    if not (home / INSTANCE).is_dir():
        return  # nothing ever ran
    with open_instance(prepare_home(home)) as instance:
        fail_dead_runs(instance)
        for house in houses:
            report_missing_events(instance, house)


def _failed(error: ButterQuantError) -> dict[str, Any]:
    """The report of a house that could not be looked at."""
    return {"status": "failed", "runs": [], "assets": [], "problems": [str(error)]}


def _bring(houses: Sequence[House], house: House, settings: Settings, chosen: set[str] | None) -> dict[str, Any]:
    """Rebuild what is stale in one house, and report."""
    runs: list[str] = []
    tallies: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    failure: str | None = None
    freshness = house.freshness()
    release_obsolete(house, freshness)
    found = plan(freshness, chosen)
    for _ in range(MAX_ROUNDS):
        if found.nothing_to_do:
            break
        before = _stale(found)
        failure = _run_once(houses, house, settings, found, runs, tallies, reasons)
        found = plan(house.freshness(), chosen)
        # One asset that fails does not keep a follow-up run from building what the first run found stale.
        if failure and _stale(found) <= before:
            break
    if failure is None and not found.nothing_to_do:
        failure = f"after {MAX_ROUNDS} runs these are still stale: {_list(found)}"
    freshness = house.freshness()
    states = asset_states(house, freshness)
    problems = [failure] if failure else []
    problems += _problems(house, freshness)
    status = "failed" if failure else "incomplete" if problems else "done" if runs else "current"
    for entry in states:
        tally = tallies.get(entry["asset"], Counter())
        entry |= {"rebuilt": tally["rebuilt"], "unchanged": entry["partitions"] - tally["rebuilt"]}
        if tally["rebuilt"]:
            entry["reasons"] = [{"reason": r, "partitions": n} for r, n in reasons[entry["asset"]].most_common()]
    return {"status": status, "runs": runs, "assets": states, "problems": problems}


def _findings(houses: Sequence[House]) -> dict[str, Any]:
    """What the artefacts of all houses say."""
    signals = [found for house in houses[1:] if (found := signal_findings(house))]
    return findings(houses[0]) | ({"signals": signals[0]} if signals else {})


def _wanted(
    houses: Sequence[House], settings: Settings, selection: str | None, only: str | None
) -> list[tuple[House, set[str] | None]]:
    """The houses to bring up to date, each with the assets that were selected of it (None: all)."""
    named = [house for house in houses if only in (None, house.name)]
    if not named:
        raise ConfigError(
            f"there is no {only} house in {settings.home}: set BUTTERQUANT_CRYPTO__SOURCE to sample, files or okx, or "
            "leave --only out"
        )
    if selection is None:
        return [(house, None) for house in named]
    chosen = [(house, _selected(houses, house, settings, selection)) for house in named]
    if not any(names for _, names in chosen):
        listing = ", ".join(node.name for house in named for node in house.nodes)
        raise ConfigError(f"--select {selection!r} names no asset; there are {listing}")
    return [(house, names) for house, names in chosen if names]


def current_status(settings: Settings) -> dict[str, Any]:
    """What is materialised, stale, failing; each house is judged by itself. Changes nothing.

    Raises
    ------
    ConfigError
        if the home directory has never been used.
    ButterQuantError
        if the source of no house can be read; that of one is a problem among the others.
    """
    if not (settings.home / BINDING_FILE).exists():
        raise ConfigError(f"{settings.home} is not a home directory yet: run `butterquant run --home {settings.home}`")
    failed: dict[str, SourceError] = {}
    houses = build_houses(settings, failed)
    judged: list[tuple[House, Freshness]] = []
    unread: dict[str, ButterQuantError] = {**failed}
    for house in houses:
        try:
            judged.append((house, house.freshness()))
        except ConfigError:
            raise
        except ButterQuantError as error:
            unread[house.name] = error
    if not judged:
        raise next(iter(unread.values()))
    bound = {house.name: {key: house.binding[key] for key in STATED if key in house.binding} for house in houses}
    return {
        "home": str(settings.home),
        **bound.pop(EQUITY),
        **bound,
        "assets": [entry for house, freshness in judged for entry in asset_states(house, freshness)],
        "problems": [
            *(f"the {name} house cannot be judged: {error}" for name, error in unread.items()),
            *(problem for house, freshness in judged for problem in _problems(house, freshness)),
        ],
        "findings": _findings(houses),
    }


def analyse_now(settings: Settings, ticker: str, date: str) -> dict[str, Any]:
    """One as-of analysis straight from the source.

    Raises
    ------
    ConfigError
        for a date that is none.
    DataError
        if the analysis is rejected; the message says why.
    """
    from butterquant_assets.butterfly.analysis import analyse_one
    from butterquant_assets.butterfly.features import features_of

    try:
        session = pd.Timestamp(date).normalize().as_unit("us")
    except ValueError:
        raise ConfigError(f"{date!r} is not a date; write it as YYYY-MM-DD, for instance 2016-06-01") from None
    source = open_market_source(settings)
    month = session.strftime("%Y-%m")
    months = month_range(shift_month(month, -LOOK_BACK_MONTHS), month)
    bars = source.fetch("equity_bars", months).rows
    known = bars["ticker"].unique()
    if ticker not in known:
        raise DataError(
            f"{ticker!r} has no bars up to {session.date()} in source {settings.source!r}; "
            f"it knows {len(known)} tickers{': ' + ', '.join(sorted(known)[:8]) + ' ...' if len(known) else ''}"
        )
    own = bars[bars["ticker"] == ticker]
    vols = source.fetch("implied_vols", months).rows
    vix = source.fetch("vix", months).rows
    closes = vix.loc[vix["session"] == session, "close"]
    vix_close = float(closes.iloc[0]) if len(closes) else float("nan")
    own_vols = vols[vols["ticker"] == ticker]
    config = settings.analysis_in_use
    result = analyse_one(ticker, session, own, own_vols, vix_close, config, settings.costs, vix=vix)
    features = {name: _plain(value) for name, value in features_of(result).items()}
    return {name: _plain(value) for name, value in result.items()} | {"features": features}


def ask_for_backfill(settings: Settings, start: str, end: str, selection: str | None) -> dict[str, Any]:
    """Ask the daemon of the instance for a backfill; returns its id and what it covers.

    Months are those of the equity house, days those of the crypto house.

    Raises
    ------
    ConfigError
        when the months (days) or the selection leave nothing to fill.
    SourceError
        if the source of the house that is to be filled cannot be read.
    """
    import dagster as dg

    from butterquant_assets.orchestration.backfills import keys_to_fill, request_backfill

    failed: dict[str, SourceError] = {}
    houses = build_houses(settings, failed)
    unit: Unit = "month" if max(len(start), len(end)) <= len("2018-01") else "day"
    if unit == "day" and CRYPTO in failed:
        raise failed[CRYPTO]
    house = next((house for house in houses if house.axes.unit == unit), houses[0])
    chosen = {node.name for node in house.nodes}
    if selection is not None:
        chosen = _selected(houses, house, settings, selection)
    keys = keys_to_fill(house, chosen, start, end, look_back=LOOK_BACK_MONTHS, look_ahead=LOOK_AHEAD_MONTHS)
    if "DAGSTER_HOME" not in os.environ:
        os.environ["DAGSTER_HOME"] = dagster_environment(settings.home)["DAGSTER_HOME"]
    with dg.DagsterInstance.get() as instance:
        identity = request_backfill(instance, build_definitions(settings, houses), keys, datetime.now(UTC))
    return {
        "backfill": identity,
        "months_per_run": settings.months_per_run,
        "days_per_run": settings.days_per_run,
        "assets": keys,
    }


def _run_once(
    houses: Sequence[House],
    house: House,
    settings: Settings,
    found: Plan,
    runs: list[str],
    tallies: dict[str, Counter[str]],
    reasons: dict[str, Counter[str]],
) -> str | None:
    """One Dagster run for a plan; returns what went wrong, or None."""
    from butterquant_assets.automation.jobs import refresh_name
    from butterquant_assets.automation.requests import request_of
    from butterquant_assets.automation.runs import process_tags
    from butterquant_assets.orchestration.assets import asset_key
    from butterquant_assets.orchestration.event_batches import open_instance

    os.environ.update(dagster_environment(settings.home))
    request = request_of(found, house)
    with open_instance(Path(os.environ["DAGSTER_HOME"])) as instance:
        job = build_definitions(settings, houses).resolve_job_def(refresh_name(house))
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[asset_key(name) for name in request.assets],
            tags={**request.tags, **process_tags()},
            run_config=QUIET,
            raise_on_error=False,
        )
        runs.append(result.run_id)
        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            name = materialization.asset_key.to_user_string()
            metadata = materialization.metadata
            action = str(metadata["action"].value) if "action" in metadata else "unknown"
            tallies.setdefault(name, Counter())[action] += 1
            if action == "rebuilt" and "reasons" in metadata:
                first = str(metadata["reasons"].value).split("; ")[0]
                reasons.setdefault(name, Counter())[first] += 1
        return None if result.success else _first_failure(result)


def _first_failure(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message.strip() if error else "failed"
            return f"{event.step_key}: {message.removeprefix(f'{errors.__name__}.')}"
    return "the run failed; `butterquant ui` shows its log"


def _selected(houses: Sequence[House], house: House, settings: Settings, selection: str) -> set[str]:
    """Assets of one house that a selection over all of them names, with what is made together with them."""
    import dagster as dg

    try:
        graph = build_definitions(settings, houses).resolve_asset_graph()
        keys = dg.AssetSelection.from_string(selection).resolve(graph)
    except dg.DagsterError as error:
        raise ConfigError(f"--select {selection!r} is not understood: {error}") from error
    names = {key.to_user_string() for key in keys}
    return {name for d in house.declarations if names & set(d.names) for name in d.names}


def _problems(house: House, freshness: Freshness) -> list[str]:
    """Quarantined and waiting partitions, grouped by asset and reason."""
    grouped: dict[tuple[str, State, str], list[str]] = {}
    for node in house.nodes:
        for key in node.partitions():
            judgement = freshness.judge(node.name, key)
            if judgement.state in (State.QUARANTINED, State.WAITING):
                text = judgement.reasons[0] if judgement.reasons else ""
                grouped.setdefault((node.name, judgement.state, text), []).append(str(key or ""))
    return [f"{name} {_keys(keys)} {state}: {text}" for (name, state, text), keys in grouped.items()]


def _keys(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} .. {keys[-1]} ({len(keys)})"


def _stale(found: Plan) -> set[tuple[str, str | None]]:
    return {(name, key) for name, keys in found.stale.items() for key in keys}


def _list(found: Plan) -> str:
    return ", ".join(f"{name} ({len(keys)})" for name, keys in found.stale.items() if keys)


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp | np.datetime64):
        return str(pd.Timestamp(value).date())
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


@contextmanager
def _only_runner(home: Path) -> Iterator[None]:
    """One `butterquant run` at a time per home; a dead holder's lock is free."""
    with open(home / "run.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ButterQuantError(
                f"another `butterquant run` works on {home}: wait for it, or use another home"
            ) from None
        yield
