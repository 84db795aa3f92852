"""A house whose lake lies on an object store, used as its user would."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from butterquant_assets.foundation.lake import Lake
from butterquant_tests import homes

SELECTION = 'group:market or +key:"butterfly/features"'


@pytest.mark.slow
def test_a_house_on_an_object_store_is_built_and_the_second_run_does_nothing(
    s3_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    data, home = homes.shared_data(tmp_path_factory), tmp_path / "home"
    source = ("--source", "files", "--data", str(data), "--start", homes.START, "--end", "2016-04")

    def run() -> dict[str, Any]:
        asked = ("run", "--json", *source, "--select", SELECTION)
        report: dict[str, Any] = json.loads(homes.butterquant(*asked, home=home, BUTTERQUANT_LAKE_URL=s3_url).stdout)
        return report

    first = run()
    assert first["status"] == "done"
    assert {"market/equity_bars", "market/vix", "butterfly/analyses", "butterfly/features"} <= set(homes.rebuilt(first))
    lake = Lake(s3_url)
    built = lake.files()
    assert {file.area for file in built} == {""}
    assert len(lake.read("butterfly/features", lake.partitions("butterfly/features"))) > 20
    assert not (home / "lake").exists()
    caplog.clear()
    second = run()
    assert second["status"] == "current"
    assert second["runs"] == []
    asked = re.findall(r"(GET|HEAD|PUT|POST|DELETE) /bucket", "\n".join(caplog.messages))
    assert {"GET"} <= set(asked) <= {"GET", "HEAD"}  # looked at, and nothing written
    assert lake.files() == built
