from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from butterquant_assets.cli_collect import collect
from butterquant_tests.market.fake_services import Services, services_of_today


@pytest.fixture
def services() -> Iterator[Services]:
    served = services_of_today()
    yield served
    served.close()


def invoke(services: Services, folder: Path, *arguments: str) -> Result:
    urls = ("--yahoo-url", services.url, "--cboe-url", services.url, "--pause-seconds", "0")
    return CliRunner().invoke(collect, ["--to", str(folder), *urls, *arguments])


def test_symbols_are_collected_and_remembered(services: Services, tmp_path: Path) -> None:
    first = invoke(services, tmp_path, "--symbols", "aaa,BBB", "--start", "2020-01-01")
    assert first.exit_code == 0, first.output
    assert first.output.startswith("Collected 3 of 3 through ")
    again = invoke(services, tmp_path, "--start", "2020-01-01", "--json")
    assert again.exit_code == 0
    document = json.loads(again.output)
    assert (document["asked"], document["added"], document["files"], document["pending"]) == (3, 0, [], [])
    bars = pd.concat([pd.read_parquet(path) for path in (tmp_path / "stocks_daily").glob("*")])
    assert set(bars["symbol"]) == {"AAA", "BBB"}
    assert bars["quoted"].eq(1.0).all()


def test_what_is_missing_is_said_and_exits_with_1(services: Services, tmp_path: Path) -> None:
    done = invoke(services, tmp_path, "--symbols", "AAA,NOPE")
    assert done.exit_code == 1
    assert "PROBLEM  NOPE: the service has no data" in done.output
    assert "Not complete through" in done.output
    assert invoke(services, tmp_path, "--pending", "--json").exit_code == 1
    asked = [request for request in services.requests if "AAA" in request]
    assert len(asked) == 1, "--pending asks only for what is missing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--symbols", "../x"), "is no ticker"),
        (("--symbols", "AAA", "--start", "soon"), "expected a date such as 2000-01-01"),
        (("--no-vix",), "no symbols to collect"),
        (("--symbols-file", "/nowhere.txt"), "cannot be read"),
    ],
)
def test_bad_usage_exits_with_2(services: Services, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = invoke(services, tmp_path, *arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert services.requests == []


def test_a_name_of_the_environment_works_as_in_the_settings(services: Services, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("AAA\n")
    environment = {
        "BUTTERQUANT_COLLECT__SYMBOLS_FILE": str(tmp_path / "list"),
        "BUTTERQUANT_COLLECT__YAHOO_URL": services.url,
        "BUTTERQUANT_COLLECT__CBOE_URL": services.url,
    }
    done = CliRunner().invoke(collect, ["--to", str(tmp_path / "landing")], env=environment)
    assert done.exit_code == 0, done.output
    assert "Collected 2 of 2" in done.output
