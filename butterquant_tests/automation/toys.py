"""The smallest graph there is: a source whose values a test may change, rows, their sum, and two that train on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation import errors
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import LakeAsset, Work, lake_asset
from butterquant_assets.orchestration.house import House

MONTHS = ("2018-01", "2018-02", "2018-03")


def contract(name: str, time: str | None = "session") -> Contract:
    columns = {"session": pa.Column("datetime64[us]"), "x": pa.Column("int64", pa.Check.ge(0))}
    return Contract(name, pa.DataFrameSchema(columns, strict=True), ("session",), time)


class ToySource:
    """One row a month, whose value a test may change."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(MONTHS, 1)

    def span(self) -> tuple[str, str]:
        return MONTHS[0], MONTHS[-1]

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        return MONTHS

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        return {month: str(self.values[month]) for month in months}

    def fetch(self, dataset: str, months: Sequence[str]) -> pd.DataFrame:
        sessions = pd.to_datetime([f"{month}-05" for month in months]).astype("datetime64[us]")
        return pd.DataFrame({"session": sessions, "x": [self.values[month] for month in months]})

    def describe(self) -> dict[str, str]:
        return {}


@lake_asset(contract("toy/raw"), reads=[Window("source:raw")], code=[errors], axis="market")
def raw(work: Work) -> pd.DataFrame:
    """Rows as delivered."""
    return work.house.source.fetch("raw", work.keys)


@lake_asset(contract("toy/total", None), reads=[Window("toy/raw")], code=[errors], axis=None)
def total(work: Work) -> pd.DataFrame:
    """All rows."""
    return work.read("toy/raw")


@lake_asset(contract("toy/model", None), reads=[Window("toy/total")], code=[errors], axis=None, pool="training")
def model(work: Work) -> pd.DataFrame:
    """Learns all rows by heart."""
    return work.read("toy/total")


@lake_asset(contract("toy/quick", None), reads=[Window("toy/total")], code=[errors], axis=None, pool="training")
def quick(work: Work) -> pd.DataFrame:
    """Learns them too, cheaply."""
    return work.read("toy/total")


@lake_asset(contract("toy/export", None), reads=[Window("toy/model"), Window("toy/total")], code=[errors], axis=None)
def export(work: Work) -> pd.DataFrame:
    """The model, compared on the rows it learnt from: both must be of the same day."""
    learnt, rows = work.read("toy/model"), work.read("toy/total")
    if not learnt.equals(rows):
        raise errors.ModelStoreError("a model was paired with rows it never saw")
    return rows


@lake_asset(contract("toy/decision", None), reads=[Window("toy/model"), Window("toy/raw")], code=[errors], axis=None)
def decision(work: Work) -> pd.DataFrame:
    """What the model says."""
    return work.read("toy/model")


def toy_house(home: Path, source: ToySource, declarations: Sequence[LakeAsset] = (raw, total)) -> House:
    binding = {"start": MONTHS[0], "end": MONTHS[-1], "market_start": MONTHS[0], "market_end": MONTHS[-1]}
    return House(HomeSettings(home=home), MonthAxes(binding), list(declarations), lambda: source)
