"""`butterquant collect-crypto` fills a home's store, says what it did, and exits with what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from butterquant_assets.cli import main
from butterquant_assets.cli_crypto import DATASETS
from butterquant_assets.market.collector.collection import COLLECTED
from butterquant_assets.market.crypto_sources.store import CryptoStore
from butterquant_assets.market.exchange.faults import FaultKind, FaultRule
from butterquant_tests.market.collector.collecting import Watched, bars, desk

BARS = ("--days", "2", "--only", "crypto_bars")


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["collect-crypto", *map(str, arguments)])


def test_it_stores_into_the_home_and_tells_it_as_text_and_json(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        first = run("--home", tmp_path, "--exchange-url", one.url, "--symbols", "simbtc,SIMETH", *BARS)
        assert first.exit_code == 0, first.output
        assert first.output.startswith("Collected 2 coins up to 2023-04-11T05:25:00 UTC: ")
        store = CryptoStore(tmp_path / "collected" / "crypto")
        assert set(bars(store)["coin"]) == {"SIMBTC", "SIMETH"}
        again = run("--home", tmp_path, "--exchange-url", one.url, "--symbols", "SIMBTC,SIMETH", *BARS, "--json")
        report = json.loads(again.output)
        assert (report["changed"], report["problems"], report["incomplete_days"]) == ({}, [], 0)


def test_what_is_refused_or_missing_exits_with_one_and_bad_usage_with_two(tmp_path: Path) -> None:
    blocked = Watched([FaultRule(FaultKind.REGION_BLOCK, endpoints=("market/candles",), attempts=None)])
    with desk(tmp_path, faults=blocked) as one:
        refused = run("--home", tmp_path, "--exchange-url", one.url, *BARS)
        assert refused.exit_code == 1
        assert "does not serve this address or region" in refused.output
        named = ("--symbols", "SIMBTC,NONSUCH", "--days", "2", "--only", "order_books")
        unknown = run("--home", tmp_path, "--exchange-url", one.url, *named)
        assert unknown.exit_code == 1
        assert "PROBLEM  NONSUCH" in unknown.output
        assert run("--home", tmp_path, "--days", "0").exit_code == 2
        assert run("--home", tmp_path, "--only", "candles").exit_code == 2


def bound_to(home: Path, source: str) -> Path:
    home.mkdir()
    (home / "crypto.json").write_text(json.dumps({"source": source, "start": "2023-04-03", "end": "2023-04-09"}))
    return home


def test_the_span_of_a_home_that_reads_another_source_is_not_collected(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        options = ("--exchange-url", one.url, "--symbols", "SIMBTC", "--only", "crypto_bars")
        home = bound_to(tmp_path / "sample", "sample")
        assert run("--home", home, *options, "--days", "2").exit_code == 0
        assert CryptoStore(home / "collected" / "crypto").days("crypto_bars") == ("2023-04-10", "2023-04-11")
        home = bound_to(tmp_path / "okx", "okx")
        assert run("--home", home, *options).exit_code == 0
        held = CryptoStore(home / "collected" / "crypto").days("crypto_bars")
        assert (held[0], held[-1]) == ("2023-04-03", "2023-04-09")


def test_days_asked_for_win_over_the_start_a_home_is_bound_to(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        home = bound_to(tmp_path / "okx", "okx")
        options = ("--exchange-url", one.url, "--symbols", "SIMBTC", "--only", "crypto_bars", "--days", "4")
        assert run("--home", home, *options).exit_code == 0
        assert CryptoStore(home / "collected" / "crypto").days("crypto_bars") == ("2023-04-08", "2023-04-09")


def test_it_offers_what_can_be_collected() -> None:
    assert sorted(DATASETS) == sorted(COLLECTED)
