"""A toy house by UTC day: hourly rows of a source that a test may change, sums over three days, weekly tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation import errors
from butterquant_assets.foundation.calendar import key_range
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.axes import DayAxis
from butterquant_assets.orchestration.declaration import Work, lake_asset
from butterquant_assets.orchestration.house import CRYPTO, House

FIRST, LAST = "2024-02-25", "2024-03-05"  # over a leap day
WEEK = 3
NOW = datetime(2024, 3, 20, 12, tzinfo=UTC)


def contract(name: str, time: str = "hour") -> Contract:
    columns = {time: pa.Column("datetime64[us]"), "coin": pa.Column("str"), "x": pa.Column("int64")}
    return Contract(name, pa.DataFrameSchema(columns, strict=True), (time, "coin"), time)


class DaySource:
    """Two coins, hourly; the value of a coin on a day may be changed, and days and coins may be added."""

    def __init__(self) -> None:
        self.values = {(day, coin): 1 for day in key_range(FIRST, LAST, "day") for coin in ("A", "B")}
        self.fetched: list[tuple[str, ...]] = []

    def span(self) -> tuple[str, str]:
        days = sorted({day for day, _ in self.values})
        return days[0], days[-1]

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        return tuple(sorted({day for day, _ in self.values}))

    def fingerprints(self, dataset: str, days: Sequence[str]) -> dict[str, str]:
        return {day: str({coin: x for (at, coin), x in self.values.items() if at == day}) for day in days}

    def fetch(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        self.fetched.append(tuple(days))
        chosen = [(day, coin, x) for (day, coin), x in self.values.items() if day in days]
        hours = np.arange(24).astype("timedelta64[h]")
        stamps = np.concatenate([np.datetime64(day, "us") + hours for day, _, _ in chosen])
        names = np.repeat([coin for _, coin, _ in chosen], 24)
        values = np.repeat(np.array([x for _, _, x in chosen], dtype=np.int64), 24)
        return pd.DataFrame({"hour": stamps, "coin": pd.Series(names, dtype="str"), "x": values})

    def describe(self) -> dict[str, str]:
        return {}


@lake_asset(contract("toy/hours"), reads=[Window("source:hours")], code=[errors], axis="days", batch=120, digest="coin")
def hours(work: Work) -> pd.DataFrame:
    """Hourly rows as delivered."""
    rows: pd.DataFrame = work.house.source.fetch("hours", work.keys)
    return rows


@lake_asset(
    contract("toy/sums"),
    reads=[Window("toy/hours", -2, 0, by="group")],
    code=[errors],
    axis="days",
    batch=120,
    group="coin",
)
def sums(work: Work) -> pd.DataFrame:
    """For each day and coin the sum over that day and the two before; none where that is nothing."""
    rows = work.read("toy/hours")
    made = []
    for day in map(pd.Timestamp, work.keys):
        near = rows[(rows["hour"] >= day - pd.Timedelta(days=2)) & (rows["hour"] < day + pd.Timedelta(days=1))]
        sums_of_day = near.groupby("coin", as_index=False)["x"].sum().assign(hour=day.as_unit("us"))
        made.append(sums_of_day[sums_of_day["x"] > 0])
    return pd.concat(made, ignore_index=True)


@lake_asset(contract("toy/weekly", "as_of"), reads=[Window("toy/hours")], code=[errors], axis=None, digest="day")
def weekly(work: Work) -> pd.DataFrame:
    """Every third day a table of the total of each coin before it."""
    rows = work.read("toy/hours")
    made = []
    for day in key_range(FIRST, rows["hour"].max().strftime("%Y-%m-%d"), "day")[::WEEK]:
        total = rows[rows["hour"] < day].groupby("coin")["x"].sum()
        made.append(pd.DataFrame({"as_of": np.datetime64(day, "us"), "coin": total.index.astype("str"), "x": total}))
    return pd.concat(made, ignore_index=True)


@lake_asset(
    contract("toy/judged"),
    reads=[Window("toy/sums"), Window("toy/weekly", by="in_force")],
    code=[errors],
    axis="days",
    batch=120,
)
def judged(work: Work) -> pd.DataFrame:
    """The sums less what the table in force says."""
    table = work.read("toy/weekly").rename(columns={"as_of": "hour", "x": "known"})
    rows = work.read("toy/sums").sort_values("hour")
    if table.empty:
        return rows
    joined = pd.merge_asof(rows, table.sort_values("hour"), on="hour", by="coin")
    return joined.assign(x=joined["x"] - joined["known"].fillna(0).astype("int64")).drop(columns="known")


def day_house(home: Path, source: DaySource, *, last: str | None = LAST, grows_to: str | None = LAST) -> House:
    axes = DayAxis({"start": FIRST, "end": last, "grows_to": grows_to})
    declarations = [hours, sums, weekly, judged]
    return House(HomeSettings(home=home), axes, declarations, lambda: source, clock=lambda: NOW, name=CRYPTO)
