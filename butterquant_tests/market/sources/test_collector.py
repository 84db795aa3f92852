"""The whole way from a service on loopback to what the files source delivers, through every fault."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.market.collect_progress import CollectConfig
from butterquant_assets.market.sources import landing as landing_module
from butterquant_assets.market.sources.base import open_source
from butterquant_assets.market.sources.collector import Collection, collect, symbols_of
from butterquant_assets.market.sources.landing import BARS, VIX, Landing
from butterquant_assets.market.sources.yahoo import Chart, as_quoted
from butterquant_tests.market.fake_services import (
    Clock,
    Services,
    half_document,
    reply,
    silent,
    status,
    truncated,
    truth,
    unframed_half,
)
from butterquant_tests.shared_data import data_dir

MONTHS = ["2024-03", "2024-04", "2024-05", "2024-06"]
VALUES = ["open", "high", "low", "close", "volume", "dividend"]
SPLITS = {"BBB": {"2024-04-10": 4.0, "2024-05-20": 1.281}}


class Desk:
    """A landing folder, the services, and the clock they share."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock("2024-05-14T22:00:00")
        self.folder = folder
        self.services = Services(self.clock)
        self.services.bars = {
            "AAA": truth("AAA", 80, "2024-03-01"),
            "BBB": truth("BBB", 80, "2024-03-01", 300.0, SPLITS["BBB"]),
        }
        self.services.bars["AAA"].loc[40, "dividend"] = 0.24
        self.services.bars["BBB"].loc[5, "dividend"] = 1.32
        self.services.splits = dict(SPLITS)
        self.services.vix = truth("VIX", 80, "2024-03-01", 15.0)

    def poll(self, *symbols: str, **options: Any) -> Collection:
        given = {name: options.pop(name) for name in ("overlap_sessions", "full_every_days", "vix") if name in options}
        config = CollectConfig(
            start="2024-01-02",
            yahoo_url=self.services.url,
            cboe_url=self.services.url,
            **{"full_every_days": 0, **given},
        )
        with self.clock.client() as client:
            return collect(self.folder, config, symbols or ("AAA", "BBB"), client, **options)

    def source(self) -> dict[str, dict[str, str]]:
        source = open_source("files", data_dir=self.folder)
        return {name: source.fingerprints(name, MONTHS) for name in ("equity_bars", "vix")}

    def landed(self, ticker: str) -> pd.DataFrame:
        rows = pd.concat([pd.read_parquet(path) for path in sorted((self.folder / "stocks_daily").glob("*"))])
        return rows[rows["symbol"] == ticker].reset_index(drop=True)

    def hashes(self) -> dict[str, str]:
        files = list(self.folder.rglob("*.parquet"))
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def progress(self) -> dict[str, Any]:
        return json.loads((self.folder / "collected.json").read_text())

    def revisions(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for p in sorted((self.folder / "revisions").glob("*"))
            for line in p.read_text().splitlines()
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path / "landing")
    yield found
    found.services.close()


def through(frame: pd.DataFrame, day: str) -> pd.DataFrame:
    return frame[frame["session"] <= day].reset_index(drop=True)


def test_what_is_landed_is_what_was_quoted_and_the_files_source_delivers_it(desk: Desk) -> None:
    desk.clock.to("2024-06-14T22:00:00")
    done = desk.poll()
    assert (done.closed, done.collected, done.problems, done.pending) == ("2024-06-14", 3, (), ())
    for ticker in ("AAA", "BBB"):
        expected = through(desk.services.bars[ticker], "2024-06-14")
        pd.testing.assert_frame_equal(desk.landed(ticker)[VALUES], expected[VALUES])
    rows = open_source("files", data_dir=desk.folder).fetch("equity_bars", MONTHS).rows
    mine = rows[rows["ticker"] == "BBB"]
    assert mine["quoted"].all()
    assert mine["close"].tolist() == through(desk.services.bars["BBB"], "2024-06-14")["close"].tolist()
    assert mine.set_index("session")["split_ratio"]["2024-04-10"] == 4.0
    assert mine.set_index("session")["split_ratio"]["2024-05-20"] == 1.281
    assert mine["dividend_usd"].sum() == 1.32


def test_a_spin_off_too_small_to_show_in_the_closes_is_not_undone_twice(desk: Desk) -> None:
    desk.clock.to("2024-06-14T22:00:00")
    desk.services.bars["BBB"] = truth("BBB", 80, "2024-03-01", 300.0, {"2024-05-20": 1.281})
    desk.services.splits = {"BBB": {"2024-05-20": 1.281}}
    assert desk.poll().problems == ()
    rows = open_source("files", data_dir=desk.folder).fetch("equity_bars", MONTHS).rows
    mine = rows[rows["ticker"] == "BBB"]
    assert mine["close"].tolist() == through(desk.services.bars["BBB"], "2024-06-14")["close"].tolist()
    assert mine.set_index("session")["split_ratio"]["2024-05-20"] == 1.281


def test_one_new_session_changes_exactly_one_month(desk: Desk) -> None:
    desk.poll()
    before, files = desk.source(), desk.hashes()
    desk.clock.to("2024-05-15T22:00:00")
    done = desk.poll()
    assert (done.added, done.revised, done.problems) == (3, 0, ())
    assert done.files == ("vix_daily/2024.parquet", "stocks_daily/2024-05.parquet")
    after = desk.source()
    for dataset in before:
        assert [m for m in MONTHS if before[dataset][m] != after[dataset][m]] == ["2024-05"]
    assert {name for name, digest in desk.hashes().items() if files.get(name) != digest} == set(done.files)
    first = int(desk.services.requests[-1].split("period1=")[1].split("&")[0])
    assert pd.Timestamp(first, unit="s") > pd.Timestamp("2024-04-01"), "only the newest sessions are asked for again"


def test_a_split_rewrites_no_history(desk: Desk) -> None:
    desk.clock.to("2024-05-17T22:00:00")
    desk.poll()
    before = desk.source()
    desk.clock.to("2024-05-20T22:00:00")
    done = desk.poll()
    assert (done.added, done.revised, done.problems) == (3, 0, ())
    assert done.files == ("stock_splits.parquet", "vix_daily/2024.parquet", "stocks_daily/2024-05.parquet")
    assert [m for m in MONTHS if before["equity_bars"][m] != desk.source()["equity_bars"][m]] == ["2024-05"]
    assert desk.revisions() == []


def test_a_split_of_the_running_session_waits_for_its_close(desk: Desk) -> None:
    desk.clock.to("2024-05-20T15:00:00")
    done = desk.poll()
    assert (done.closed, done.problems) == ("2024-05-17", ())
    assert desk.landed("BBB")["close"].tolist() == through(desk.services.bars["BBB"], "2024-05-17")["close"].tolist()
    assert len(pd.read_parquet(desk.folder / "stock_splits.parquet")) == 1


def test_the_same_poll_twice_rewrites_nothing_and_two_folders_are_the_same_bytes(desk: Desk, tmp_path: Path) -> None:
    desk.poll()
    stamps = {path: path.stat().st_mtime_ns for path in desk.folder.rglob("*.parquet")}
    assert desk.poll().files == ()
    assert {path: path.stat().st_mtime_ns for path in desk.folder.rglob("*.parquet")} == stamps
    here = desk.hashes()
    desk.folder = tmp_path / "other"
    desk.clock.to("2024-05-10T22:00:00")
    desk.poll()
    desk.clock.to("2024-05-14T22:00:00")
    desk.poll()
    assert desk.hashes() == here, "collected in two steps"


def test_revised_history_replaces_rows_and_is_recorded_once(desk: Desk) -> None:
    desk.poll()
    old = float(desk.services.bars["AAA"]["close"].iloc[3])
    desk.services.bars["AAA"].loc[3, "close"] = round(old + 0.05, 2)
    assert desk.poll(overlap_sessions=5).revised == 0, "outside what is asked again"
    desk.clock.to("2024-05-14T23:00:00")
    done = desk.poll(full=True)
    assert (done.revised, done.files, done.problems) == (1, ("stocks_daily/2024-03.parquet",), ())
    assert desk.poll(full=True).revised == 0
    (line,) = desk.revisions()
    assert (line["symbol"], line["session"], line["old"], line["new"]) == (
        "AAA",
        "2024-03-06",
        {"close": old},
        {"close": round(old + 0.05, 2)},
    )
    assert line["seen"].startswith("2024-05-14T23:00")


def test_the_whole_history_is_asked_again_after_a_while(desk: Desk) -> None:
    desk.poll(full_every_days=7)
    desk.services.bars["AAA"].loc[3, "volume"] += 700
    desk.clock.to("2024-05-20T22:00:00")
    assert desk.poll(full_every_days=7).revised == 0
    desk.clock.to("2024-05-21T22:00:00")
    assert desk.poll(full_every_days=7).revised == 1


def test_a_killed_landing_is_taken_up_and_a_revision_recorded_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.poll()
    desk.services.bars["AAA"].loc[48, "volume"] += 700
    desk.clock.to("2024-05-15T22:00:00")

    def killed(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(landing_module.Landing, "land", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.poll()
    assert desk.progress()["symbols"]["AAA"]["complete_through"] == "2024-05-14"
    assert len(desk.revisions()) == 1
    done = desk.poll()
    assert (done.added, done.revised, done.pending) == (3, 1, ())
    assert len(desk.revisions()) == 1


@pytest.mark.parametrize("fault", [truncated, half_document, silent, status(503), status(429, Retry_After="5")])
def test_a_fault_that_passes_leaves_no_trace(desk: Desk, fault: Any, tmp_path: Path) -> None:
    desk.poll()
    expected = desk.hashes()
    desk.folder = tmp_path / "other"
    desk.clock.to("2024-05-14T22:00:00")
    desk.services.faults = [fault, fault]
    assert desk.poll().problems == ()
    assert desk.hashes() == expected


def test_a_vix_file_cut_within_a_number_is_not_believed(desk: Desk) -> None:
    desk.services.faults = [unframed_half] * 3
    done = desk.poll()
    assert "ends within a line" in done.problems[0]
    assert done.pending == ("VIX",)
    assert not (desk.folder / "vix_daily").exists()
    assert desk.poll().problems == ()


def test_repeated_and_shuffled_rows_change_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.poll()
    expected = desk.hashes()

    def shuffle(result: dict[str, Any]) -> None:
        order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(result["timestamp"])), 2))
        result["timestamp"] = [result["timestamp"][n] for n in order]
        quote = result["indicators"]["quote"][0]
        quote |= {name: [values[n] for n in order] for name, values in quote.items()}

    desk.services.edit = shuffle
    desk.services.vix = pd.concat([desk.services.vix] * 2).sample(frac=1, random_state=1)
    desk.folder = tmp_path / "other"
    assert desk.poll().problems == ()
    assert desk.hashes() == expected


def test_a_contradicting_row_is_refused_alone_and_not_called_complete(desk: Desk) -> None:
    def contradict(result: dict[str, Any]) -> None:
        quote = result["indicators"]["quote"][0]
        result["timestamp"].append(result["timestamp"][-1])
        for values in quote.values():
            values.append(values[-1] * 1.01)

    desk.services.edit = contradict
    done = desk.poll("AAA")
    assert "1 sessions came more than once with different values" in done.problems[0]
    assert done.pending == ("AAA",)
    assert desk.landed("AAA")["timestamp"].max() == pd.Timestamp("2024-05-13", tz="UTC")
    assert desk.progress()["symbols"]["AAA"]["complete_through"] == "2024-05-13"
    desk.services.edit = lambda result: None
    assert desk.poll("AAA").pending == ()


def test_tomorrow_is_refused_and_the_running_session_waited_for(desk: Desk) -> None:
    def tomorrow(result: dict[str, Any]) -> None:
        for values in result["indicators"]["quote"][0].values():
            values.append(values[-1])
        result["timestamp"].append(result["timestamp"][-1] + 2 * 86400)

    desk.clock.to("2024-05-14T19:00:00")
    desk.services.edit = tomorrow
    done = desk.poll("AAA")
    assert done.closed == "2024-05-13"
    assert "AAA: 1 rows are dated 2024-05-16 or later" in done.problems[0]
    assert desk.landed("AAA")["timestamp"].max() == pd.Timestamp("2024-05-13", tz="UTC")


def test_history_that_gets_shorter_stays_and_is_told(desk: Desk) -> None:
    desk.poll()
    expected = desk.hashes()
    desk.services.bars["AAA"] = desk.services.bars["AAA"].drop(range(10)).reset_index(drop=True)
    desk.services.vix = desk.services.vix.drop(range(3)).reset_index(drop=True)
    done = desk.poll(full=True)
    assert desk.hashes() == expected
    assert "VIX: 3 landed sessions, 2024-03-01 to 2024-03-05, are no longer given; they stay" in done.problems
    assert "AAA: 10 landed sessions, 2024-03-01 to 2024-03-14, are no longer given; they stay" in done.problems
    assert done.pending == ()


def test_nulls_are_no_bars_and_come_later(desk: Desk) -> None:
    def null_last(result: dict[str, Any]) -> None:
        for values in result["indicators"]["quote"][0].values():
            values[-1] = None

    desk.services.edit = null_last
    done = desk.poll("AAA")
    assert done.pending == ("AAA",)
    assert "AAA: the last session is 2024-05-13, expected 2024-05-14" in done.problems[0]
    desk.services.edit = lambda result: None
    assert (desk.poll("AAA", pending_only=True).added, desk.poll("AAA", pending_only=True).asked) == (1, 0)


def test_an_answer_without_bars_keeps_what_is_held(desk: Desk) -> None:
    def empty(result: dict[str, Any]) -> None:
        del result["timestamp"]
        result["indicators"] = {"quote": [{}], "adjclose": [{}]}

    desk.services.edit = empty
    done = desk.poll("AAA")
    assert "AAA: no session up to 2024-05-14 was delivered: check the symbol and the start" in done.problems[0]
    desk.services.edit = lambda result: None
    desk.poll("AAA")
    expected = desk.hashes()
    desk.services.edit = empty
    assert "20 landed sessions" in desk.poll("AAA").problems[0]
    assert desk.hashes() == expected


def test_an_unknown_symbol_is_refused_alone(desk: Desk) -> None:
    done = desk.poll("AAA", "NOPE", "BBB")
    (problem,) = done.problems
    assert problem.startswith("NOPE: the service has no data (Not Found: No data found")
    assert (done.collected, done.pending) == (3, ("NOPE",))
    assert "NOPE" in desk.progress()["symbols"]["NOPE"]["problem"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("symbol", "AAAB"), ("currency", "GBp"), ("exchangeTimezoneName", "Europe/London"), ("dataGranularity", "1wk")],
)
def test_another_chart_than_was_asked_for_is_refused(desk: Desk, field: str, value: str) -> None:
    desk.services.edit = lambda result: result["meta"].update({field: value})
    assert f"{field} is {value!r}, expected" in desk.poll("AAA").problems[0]


def test_a_form_that_changed_is_refused(desk: Desk) -> None:
    desk.services.edit = lambda result: result.pop("indicators")
    assert "lacks what a chart has (KeyError: 'indicators')" in desk.poll("AAA").problems[0]


def test_columns_of_different_lengths_are_not_believed(desk: Desk) -> None:
    desk.services.edit = lambda result: result["indicators"]["quote"][0]["close"].pop()
    done = desk.poll("AAA")
    assert "close has 51 values for 52 times" in done.problems[0]
    assert not (desk.folder / "stocks_daily").exists()


def test_a_block_ends_the_poll_and_what_came_before_is_landed(desk: Desk) -> None:
    block = [lambda handler, body: reply(handler, 200, body, Date=desk.services.date())] * 2 + [status(403)]
    desk.services.faults = block
    done = desk.poll("AAA", "BBB", "CCC", "DDD")
    assert done.pending == ("BBB", "CCC", "DDD")
    assert "refuses this address or region (403)" in done.problems[0]
    assert "2 tickers from CCC on were not asked for" in done.problems[1]
    assert len(desk.landed("AAA")) == 52


def test_a_service_that_is_down_is_left_alone_after_three_tickers(desk: Desk) -> None:
    symbols = [f"T{n}" for n in range(20)]
    desk.services.faults = [status(503)] * 99
    done = desk.poll(*symbols, vix=False)
    assert len(desk.services.requests) == 9
    assert "17 tickers from T3 on were not asked for" in done.problems[-1]
    assert len(done.pending) == 20


def test_a_clock_that_jumps_lands_nothing(desk: Desk) -> None:
    desk.poll()
    expected = desk.hashes()
    for off in (timedelta(days=-1), timedelta(minutes=9)):
        desk.services.clock_off = off
        done = desk.poll()
        assert "minutes apart" in done.problems[0]
        assert "minutes apart" in done.problems[1]
        assert desk.hashes() == expected
    desk.services.clock_off = timedelta()
    assert desk.poll().problems == ()


def test_a_clock_behind_the_last_poll_is_refused(desk: Desk) -> None:
    desk.poll()
    desk.clock.to("2024-05-13T22:00:00")
    with pytest.raises(SourceError, match="the clock jumped back"):
        desk.poll()


def test_a_split_that_is_not_told_of_is_noticed_and_can_be_accepted(desk: Desk) -> None:
    desk.poll()
    desk.services.adjusted_for = {"AAA": {"2024-05-14": 2.0}}
    expected = desk.hashes()
    done = desk.poll()
    assert "AAA: landed closes would change by one and the same factor, 0.5" in done.problems[0]
    assert "--accept AAA" in done.problems[0]
    assert desk.hashes() == expected
    assert desk.poll(accept=("AAA",)).revised > 0
    assert desk.poll().problems == ()


def test_a_split_that_is_told_of_but_not_applied_is_refused(desk: Desk) -> None:
    desk.services.adjusted_for = {"BBB": {}}
    done = desk.poll()
    assert "BBB: closes jump on the splits the answer tells of" in done.problems[0]
    assert done.pending == ("BBB",)


def test_a_split_that_is_withdrawn_stays_until_it_is_accepted(desk: Desk) -> None:
    desk.poll()
    desk.services.bars["BBB"] = truth("BBB", 80, "2024-03-01", 300.0)
    desk.services.splits = {}
    done = desk.poll(full=True, vix=False)
    assert any("--accept BBB" in problem for problem in done.problems)
    assert len(pd.read_parquet(desk.folder / "stock_splits.parquet")) == 1
    desk.poll(accept=("BBB",))
    assert len(pd.read_parquet(desk.folder / "stock_splits.parquet")) == 0


def test_a_landed_file_that_vanished_is_collected_again(desk: Desk) -> None:
    desk.poll()
    expected = desk.hashes()
    (desk.folder / "stocks_daily" / "2024-03.parquet").unlink()
    desk.poll()
    assert desk.hashes() == expected


def test_a_folder_of_somebody_else_is_left_alone(desk: Desk) -> None:
    desk.folder.mkdir()
    (desk.folder / "stocks_daily.csv").write_text("timestamp,symbol\n")
    with pytest.raises(SourceError, match="was not written by the collector"):
        desk.poll()
    assert sorted(os.listdir(desk.folder)) == [".collect.lock", "stocks_daily.csv"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "symbols": {"A": {"x": 1}}, "vix": {}}'])
def test_a_damaged_manifest_is_refused(desk: Desk, text: str) -> None:
    desk.poll()
    (desk.folder / "collected.json").write_text(text)
    with pytest.raises(SourceError, match=r"collected.json"):
        desk.poll()


def test_a_damaged_table_is_named(desk: Desk) -> None:
    desk.poll()
    path = desk.folder / "stocks_daily" / "2024-05.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"2024-05.parquet is not a readable Parquet file"):
        desk.poll()


def test_nothing_to_collect_is_said(desk: Desk) -> None:
    with desk.clock.client() as client, pytest.raises(ConfigError, match="no symbols"):
        collect(desk.folder, CollectConfig(vix=False), (), client)


def test_accepting_what_is_not_collected_is_refused(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="ZZZ is to be accepted but is not collected"):
        desk.poll("AAA", accept=("ZZZ",))


@pytest.mark.slow
def test_real_prices_landed_as_quoted_are_delivered_as_before(tmp_path: Path) -> None:
    real = data_dir()
    tickers = ["AAPL", "GE", "HON", "IBM", "NFLX", "NVDA", "SPY", "TSLA"]
    bars, splits, vix = (
        pd.read_parquet(real / f"{name}.parquet").rename(columns={"timestamp": "session", "symbol": "ticker"})
        for name in ("stocks_daily", "stock_splits", "vix_daily")
    )
    for frame in (bars, splits, vix):
        frame["session"] = frame["session"].dt.tz_localize(None).astype("datetime64[us]")
    landing = Landing(tmp_path)
    for ticker in tickers:
        mine = bars[bars["ticker"] == ticker].reset_index(drop=True)
        chart = Chart(
            mine, splits[splits["ticker"] == ticker].reset_index(drop=True), Clock("2026-03-01T00:00:00").now()
        )
        landing.land(BARS, as_quoted(chart).bars)
    landing.land_splits(splits[splits["ticker"].isin(tickers)])
    landing.land(VIX, vix)
    months = month_range("2011-11", "2022-12")
    direct, landed = (open_source("files", data_dir=folder) for folder in (real, tmp_path))
    for dataset in ("equity_bars", "vix"):
        expected = direct.fetch(dataset, months).rows
        if dataset == "equity_bars":
            expected = expected[expected["ticker"].isin(tickers)].reset_index(drop=True)
        pd.testing.assert_frame_equal(landed.fetch(dataset, months).rows, expected)


def test_symbols_come_from_the_list_and_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\nbrk.b\naapl\n")
    config = CollectConfig(symbols=("AAPL,MSFT",), symbols_file=str(tmp_path / "list.txt"))
    assert symbols_of(config) == ("AAPL", "MSFT", "BRK.B")
    with pytest.raises(ConfigError, match="cannot be read"):
        symbols_of(CollectConfig(symbols_file=str(tmp_path / "none.txt")))
