"""A code location with the smallest graph there is, whose source is a file of values beside the home."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd

from butterquant_assets.automation import sensors
from butterquant_assets.automation.jobs import build_refresh_job
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets
from butterquant_assets.orchestration.io_manager import LakeIOManager
from butterquant_tests.automation.toys import ToySource, toy_house

VALUES = "values.json"


class FileSource(ToySource):
    """Values that another process may change."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        self.values = json.loads(self._path.read_text())
        return super().fingerprints(dataset, months)

    def fetch(self, dataset: str, months: Sequence[str]) -> pd.DataFrame:
        self.values = json.loads(self._path.read_text())
        return super().fetch(dataset, months)


@dg.definitions
def defs() -> dg.Definitions:
    """The toy graph with its freshness sensor, which looks every second so that a test need not wait."""
    vars(sensors).update(INTERVAL_SECONDS=1, FULL_LOOK_SECONDS=1.0)  # in the process of the code server only
    home = Path(os.environ["BUTTERQUANT_HOME"])
    house = toy_house(home, FileSource(home.parent / VALUES))
    return dg.Definitions(
        assets=build_assets(house),
        jobs=[build_refresh_job(house)],
        sensors=[sensors.build_freshness_sensor(house)],
        resources={IO_MANAGER_KEY: LakeIOManager(house.lake)},
    )
