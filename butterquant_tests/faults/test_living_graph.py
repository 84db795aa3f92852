"""The graph on its own: files land, and without a further command everything that follows from them is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from butterquant_assets.automation.retrain_runs import EVENT_TAG, REASONS_TAG
from butterquant_assets.foundation.lake import Lake
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.retrain_log import RetrainEvent, RetrainLog
from butterquant_tests import homes
from butterquant_tests.deploy.fleet import wait_until
from butterquant_tests.faults.installation import Installation, instance_of, variables_for

HISTORY, NEXT, SHIFTED, DUE = "2016-10", "2016-11", "2016-12", "2016-10"
TICKERS = 8
SCAN, LABELS, ANALYSES, REPORT = (
    "butterfly/daily_scan",
    "butterfly/roi_labels",
    "butterfly/analyses",
    "monitoring/drift_report",
)
SMALL = {
    "BUTTERQUANT_SOURCE": "files",
    "BUTTERQUANT_START": "2016-03",
    "BUTTERQUANT_SAMPLING__LOW_DAYS": "8",
    "BUTTERQUANT_SAMPLING__NORMAL_DAYS": "16",
    "BUTTERQUANT_SAMPLING__HIGH_DAYS": "4",
    "BUTTERQUANT_TRAINING__STEP_ROWS": "60",
    "BUTTERQUANT_MONITORING__DRIFT__MINIMUM_MONTHS": "3",
    "BUTTERQUANT_RETRAINING__MINIMUM_HOURS": "0",
}
MATERIALIZED = """query ($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(partitions: $partitions, limit: 1) { runId partition } } } }"""


class Landing:
    """A folder of daily tables that grows by files, as a collector would land them."""

    def __init__(self, folder: Path, everything: Path) -> None:
        self.folder = folder
        self._bars = pd.read_parquet(everything / "stocks_daily.parquet")
        self._vix = pd.read_parquet(everything / "vix_daily.parquet")
        self.land("history", lambda month: month <= HISTORY)
        pd.read_parquet(everything / "stock_splits.parquet").to_parquet(folder / "stock_splits.parquet")

    def land(self, name: str, months: Callable[[pd.Series], Any], moves: float = 1.0) -> pd.Timestamp:
        """One file of bars and one of VIX of some months; returns their last session.

        Parameters
        ----------
        name
            of the files
        months
            which months
        moves
            how much larger than delivered the move of every day is; 1 leaves the prices as they are
        """
        for dataset, rows in (("vix_daily", self._vix), ("stocks_daily", self._bars)):
            chosen = rows[months(rows["timestamp"].dt.strftime("%Y-%m"))]
            if dataset == "stocks_daily" and moves != 1.0:
                chosen = stretched(chosen, moves)
            path = self.folder / dataset / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            chosen.to_parquet(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        return chosen["timestamp"].max().tz_localize(None)


def stretched(bars: pd.DataFrame, moves: float) -> pd.DataFrame:
    """Bars whose every move is larger: each ticker's logarithmic distance to its first open, and ranges with it."""
    first = bars.sort_values("timestamp").groupby("symbol")["open"].transform("first")
    wide = {name: first * np.exp(moves * np.log(bars[name] / first)) for name in ("open", "high", "low", "close")}
    return bars.assign(**wide)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    homes.write_vendor_files(tmp_path / "vendor", tickers=TICKERS, last=SHIFTED)
    (tmp_path / "landing").mkdir()
    return Landing(tmp_path / "landing", tmp_path / "vendor")


@pytest.fixture
def site(tmp_path: Path, landing: Landing, new_postgres_url: str) -> Iterator[Installation]:
    variables = variables_for(
        *(tmp_path / "home", tmp_path / "dagster", new_postgres_url),
        **SMALL,
        BUTTERQUANT_DATA_DIR=str(landing.folder),
    )
    site = Installation(tmp_path, variables)
    site.migrate()
    site.start_code_server()
    try:
        site.butterquant("run")
        yield site
    finally:
        site.stop()


@pytest.mark.slow
def test_files_that_land_are_scanned_labelled_and_watched_and_drift_retrains(
    tmp_path: Path, site: Installation, landing: Landing
) -> None:
    lake = Lake(tmp_path / "home" / "lake")
    log = RetrainLog(site.variables["BUTTERQUANT_WAREHOUSE_URL"])
    with instance_of(site.variables) as instance:
        site.start_daemon()
        site.start_webserver()
        wait_until(log.events, 90, "the retrain sensor has not looked")
        runs_before = run_ids(instance)

        landed = time.time()
        last = landing.land(NEXT, lambda month: month == NEXT)
        run = wait_for_run(instance, runs_before, 60)
        sensed = run.create_timestamp.timestamp() - landed
        wait_until(lambda: scanned(lake, NEXT) == last, 120, f"{NEXT} is not scanned: {site.tail()}")
        finished = time.time() - landed
        print(f"sensed after {sensed:.1f} s, scanned after {finished:.1f} s")  # told, not judged: it is the machine's
        wait_until(lambda: idle(instance), 180, "the run does not end")
        assert run_ids(instance) - runs_before >= {run.dagster_run.run_id}
        assert states(instance) == {dg.DagsterRunStatus.SUCCESS}, site.tail()
        assert len(lake.read(ANALYSES, [NEXT])) > 0
        due = lake.read(LABELS, [DUE])["evaluation_session"]
        assert (due.dt.strftime("%Y-%m") == NEXT).any(), "labels of earlier months that are due are not made"
        report = lake.read(REPORT)
        assert NEXT in set(report["month"].dt.strftime("%Y-%m"))
        key = {"path": SCAN.split("/")}
        (told,) = site.ask(MATERIALIZED, key=key, partitions=[NEXT])["assetOrError"]["assetMaterializations"]
        assert told["partition"] == NEXT

        landing.land(SHIFTED, lambda month: month == SHIFTED, moves=5.0)
        event = wait_until(lambda: drifted(log.events()), 240, f"no retrain for drift: {log.events()}")
        retrain = dg.RunsFilter(tags={EVENT_TAG: event.event_id}, statuses=[dg.DagsterRunStatus.SUCCESS])
        (done,) = wait_until(lambda: instance.get_runs(retrain), 180, f"the retrain does not end: {site.tail()}")
        assert "drift" in done.tags[REASONS_TAG]
    with Registry(site.variables["BUTTERQUANT_WAREHOUSE_URL"], ModelStore(tmp_path / "home" / "models")) as registry:
        verdicts = [e for e in registry.history("success") if e.action in ("promoted", "refused") and e.at > event.at]
    assert verdicts, "the challenger was not judged"


def scanned(lake: Lake, month: str) -> pd.Timestamp | None:
    """The last session of a month that was scanned."""
    return lake.read(SCAN, [month])["session"].max() if month in lake.partitions(SCAN) else None


def drifted(events: tuple[RetrainEvent, ...]) -> RetrainEvent | None:
    """The retrain that the shifted month caused."""
    return next((e for e in events if any(r.name.endswith("drift") and r.occasion == SHIFTED for r in e.reasons)), None)


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def wait_for_run(instance: dg.DagsterInstance, known: set[str], seconds: float) -> dg.RunRecord:
    def new() -> dg.RunRecord | None:
        return next((r for r in reversed(instance.get_run_records()) if r.dagster_run.run_id not in known), None)

    return wait_until(new, seconds, "no run was requested")


def idle(instance: dg.DagsterInstance) -> bool:
    return all(run.is_finished for run in instance.get_runs())


def states(instance: dg.DagsterInstance) -> set[dg.DagsterRunStatus]:
    return {run.status for run in instance.get_runs()}
