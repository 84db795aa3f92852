"""`butterquant run` over both houses of a home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from butterquant_assets import cli, runner
from butterquant_assets.definitions import Settings
from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.foundation.settings import load_settings
from butterquant_assets.orchestration.house import House
from butterquant_tests.homes import rebuilt

SELECTED = 'key:"market/vix" or key:"market/instruments"'
CRYPTO = {"source": "sample", "coins": 2, "days": 40}


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """The runner tells Dagster by the environment where its home is; other tests shall not see that."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("both") / "home"
    return load_settings(Settings, {"home": home, "start": "2016-03", "end": "2016-03", "crypto": CRYPTO}, {})


@pytest.fixture(scope="module")
def first(settings: Settings) -> dict[str, Any]:
    return runner.bring_up_to_date(settings, SELECTED)


def test_one_run_for_each_house_and_none_when_all_is_current(settings: Settings, first: dict[str, Any]) -> None:
    assert first["status"] == "done"
    # What is made together with an asset comes along.
    made = {"market/vix": 29, "market/instruments": 40, "market/leverage_tiers": 40}
    assert rebuilt(first) == made
    assert {name: (house["status"], len(house["runs"])) for name, house in first["houses"].items()} == {
        "equity": ("done", 1),
        "crypto": ("done", 1),
    }
    second = runner.bring_up_to_date(settings, SELECTED)
    assert (second["status"], second["runs"]) == ("current", [])


def test_one_house_alone_can_be_brought_up_to_date(settings: Settings, first: dict[str, Any]) -> None:
    report = runner.bring_up_to_date(settings, 'key:"market/vix" or key:"market/mark_prices"', only="crypto")
    assert rebuilt(report) == {"market/mark_prices": 40}
    assert list(report["houses"]) == ["crypto"]
    with pytest.raises(ConfigError, match="names no asset; there are market/crypto_universe"):
        runner.bring_up_to_date(settings, 'key:"market/vix"', only="crypto")


def test_the_status_tells_of_both(settings: Settings, first: dict[str, Any]) -> None:
    report = runner.current_status(settings)
    assert (report["source"], report["start"]) == ("sample", "2016-03")
    assert report["crypto"]["source"] == "sample"
    entries = {entry["asset"]: entry for entry in report["assets"]}
    assert entries["market/vix"]["current"] == 29
    assert entries["market/instruments"]["current"] == 40
    text = cli._status_text(report)
    assert f"Crypto: source sample, UTC days {report['crypto']['start']} .. {report['crypto']['end']}" in text


def test_a_source_that_fails_does_not_leave_the_other_house_behind(
    settings: Settings, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = House.freshness

    def failing(house: House) -> Any:
        if house.name == "equity":
            raise SourceError("stocks_daily.parquet is truncated")
        return plain(house)

    monkeypatch.setattr(House, "freshness", failing)
    report = runner.bring_up_to_date(settings, 'key:"market/vix" or key:"market/index_prices"')
    assert (report["status"], report["problems"]) == ("failed", ["stocks_daily.parquet is truncated"])
    assert rebuilt(report) == {"market/index_prices": 40}
    with pytest.raises(SourceError, match="truncated"):
        runner.bring_up_to_date(settings, only="equity")
    status = runner.current_status(settings)
    assert status["problems"][0] == "the equity house cannot be judged: stocks_daily.parquet is truncated"
    entries = {entry["asset"]: entry for entry in status["assets"]}
    assert entries["market/instruments"]["current"] == 40
    assert "market/vix" not in entries
    assert f"PROBLEM  {status['problems'][0]}" in cli._status_text(status)


def test_a_status_of_which_nothing_can_be_read_is_refused(
    settings: Settings, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(house: House) -> Any:
        raise SourceError(f"the {house.name} disk is not mounted")

    monkeypatch.setattr(House, "freshness", failing)
    with pytest.raises(SourceError, match="the equity disk is not mounted"):
        runner.current_status(settings)


def test_a_crypto_source_that_cannot_be_bound_is_told_and_leaves_the_equity_house_its_run(tmp_path: Path) -> None:
    crypto = {"source": "files", "data_dir": tmp_path / "unmounted"}
    given = {"home": tmp_path / "home", "start": "2016-03", "end": "2016-03", "crypto": crypto}
    settings = load_settings(Settings, given, {})
    report = runner.bring_up_to_date(settings, 'key:"market/vix"')
    assert (report["status"], rebuilt(report)) == ("failed", {"market/vix": 29})
    assert {name: house["status"] for name, house in report["houses"].items()} == {"equity": "done", "crypto": "failed"}
    (problem,) = report["problems"]
    assert str(tmp_path / "unmounted") in problem
    status = runner.current_status(settings)
    assert status["problems"][0] == f"the crypto house cannot be judged: {problem}"
    assert {entry["asset"]: entry for entry in status["assets"]}["market/vix"]["current"] == 29
    with pytest.raises(SourceError, match="unmounted"):
        runner.bring_up_to_date(settings, only="crypto")
    assert runner.bring_up_to_date(settings, 'key:"market/vix"', only="equity")["status"] == "current"


def test_a_house_that_the_home_does_not_have_is_refused(tmp_path: Path) -> None:
    given = {"home": tmp_path / "home", "start": "2016-03", "end": "2016-03", "crypto": {"source": "none"}}
    with pytest.raises(ConfigError, match=r"there is no crypto house .* BUTTERQUANT_CRYPTO__SOURCE"):
        runner.bring_up_to_date(load_settings(Settings, given, {}), only="crypto")


def test_a_backfill_by_days_is_one_of_the_crypto_house(settings: Settings, first: dict[str, Any]) -> None:
    start = first["houses"] and runner.current_status(settings)["crypto"]["start"]
    asked = runner.ask_for_backfill(settings, start, start, 'key:"market/instruments"')
    assert asked["assets"] == dict.fromkeys(("market/instruments", "market/leverage_tiers"), (start, start))
    months = runner.ask_for_backfill(settings, "2016-03", "2016-03", 'key:"market/vix"')
    assert months["assets"] == {"market/vix": ("2014-01", "2016-05")}
    with pytest.raises(ConfigError, match="at least one asset that is partitioned by month"):
        runner.ask_for_backfill(settings, "2016-03", "2016-03", 'key:"market/instruments"')


def test_the_summary_has_a_line_for_each_house(first: dict[str, Any]) -> None:
    text = cli._run_text({**first, "seconds": 1.0})
    runs = first["houses"]
    assert f"Equity   done ({runs['equity']['runs'][0][:8]})" in text
    assert f"Crypto   done ({runs['crypto']['runs'][0][:8]})" in text
