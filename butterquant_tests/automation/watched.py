"""A toy house whose source a test may break, and an instance in which its runs are executed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.automation.failure_schedule import failed_partitions_job, failure_schedule
from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.requests import FINGERPRINT_TAG, RANGE_END, RANGE_START
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.monitoring.failure_assets import build_failed_partitions
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import Result, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.io_manager import LakeIOManager
from butterquant_assets.orchestration.span import GROWS_TO

MONTHS = ("2018-01", "2018-02", "2018-03")
RAW, TOTAL, WATCH = "toy/raw", "toy/total", "monitoring/watch"


def contract(name: str, time: str | None = "session") -> Contract:
    columns = {"session": pa.Column("datetime64[us]"), "x": pa.Column("int64", pa.Check.ge(0))}
    return Contract(name, pa.DataFrameSchema(columns, strict=True), ("session",), time)


class ToySource:
    """One row a month, whose value a test may change; a negative value breaks the contract."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(MONTHS, 1)
        self.day = 5  # of the month, of each row
        self.broken: str | None = None  # fetching fails with this message
        self.unreadable: str | None = None  # even looking fails

    def span(self) -> tuple[str, str]:
        return MONTHS[0], MONTHS[-1]

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        if self.unreadable:
            raise errors.SourceError(self.unreadable)
        return {month: f"{self.values[month]} {self.day}" for month in months}

    def keys_held(self, dataset: str) -> Sequence[str]:
        return MONTHS

    def fetch(self, dataset: str, months: Sequence[str]) -> pd.DataFrame:
        if self.broken:
            raise errors.SourceError(self.broken)
        sessions = pd.to_datetime([f"{month}-{self.day:02}" for month in months]).astype("datetime64[us]")
        return pd.DataFrame({"session": sessions, "x": [self.values[month] for month in months]})

    def describe(self) -> dict[str, str]:
        return {}


@lake_asset(contract(RAW), reads=[Window("source:raw")], code=[errors], axis="market")
def raw(work: Work) -> pd.DataFrame:
    """Rows as delivered."""
    return work.house.source.fetch("raw", work.keys)


@lake_asset(contract(TOTAL, None), reads=[Window(RAW)], code=[errors], axis=None)
def total(work: Work) -> pd.DataFrame:
    """All rows."""
    return work.read(RAW)


@lake_asset(contract(WATCH), reads=[Window(RAW)], code=[errors], axis="market")
def watch(work: Work) -> Result:
    """Rows, and an alarm where a value exceeds 10."""
    rows = work.read(RAW)
    months = rows["session"].dt.strftime("%Y-%m")
    facts = {
        month: {"alarm": bool(x > 10), "reasons": [f"x {x} > 10"] if x > 10 else []}
        for month, x in zip(months, rows["x"], strict=True)
    }
    return Result({"watch": rows}, facts=facts)


def toy_house(home: Path, source: ToySource, *, endless: bool = False) -> House:
    binding = {"start": MONTHS[0], "end": MONTHS[-1], "market_start": MONTHS[0], "market_end": MONTHS[-1]}
    binding |= {GROWS_TO: None} if endless else {}
    return House(HomeSettings(home=home), MonthAxes(binding), [raw, total, watch], lambda: source)


class Site:
    """A house with its definitions and an instance."""

    def __init__(
        self, home: Path, instance: dg.DagsterInstance, max_attempts: int = 3, *, endless: bool = False
    ) -> None:
        self.source, self.instance = ToySource(), instance
        self.house = toy_house(home, self.source, endless=endless)
        self.definitions = dg.Definitions(
            assets=[*build_assets(self.house), build_failed_partitions(self.house, max_attempts, ("hook-secret",))],
            jobs=[dg.define_asset_job(REFRESH, dg.AssetSelection.groups("toy", "monitoring")), failed_partitions_job],
            schedules=[failure_schedule],
            resources={IO_MANAGER_KEY: LakeIOManager(self.house.lake)},
        )

    def refresh(self, first: str = MONTHS[0], last: str = MONTHS[-1], cause: str = "") -> dg.ExecuteInProcessResult:
        names = (RAW, TOTAL, WATCH)
        return self.definitions.resolve_job_def(REFRESH).execute_in_process(
            instance=self.instance,
            tags={RANGE_START: first, RANGE_END: last, **({FINGERPRINT_TAG: cause} if cause else {})},
            asset_selection=[dg.AssetKey(name.split("/")) for name in names],
            raise_on_error=False,
        )

    def take_stock(self) -> list[dict]:
        job = self.definitions.resolve_job_def(failed_partitions_job.name)
        assert job.execute_in_process(instance=self.instance).success
        return self.house.lake.read("monitoring/failed_partitions").to_dict("records")
