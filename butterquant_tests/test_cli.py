"""The command line: help, exit codes, and answers to bad input."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest

from butterquant_tests import forks, homes
from butterquant_tests.shared_data import data_dir


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return homes.shared_data(tmp_path_factory)


def refused(*arguments: str, home: Path, code: int, **environment: str) -> str:
    """Run something that must be refused; returns the message, which must be no traceback."""
    done = homes.butterquant(*arguments, home=home, check=False, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr + done.stdout


@pytest.mark.parametrize(
    "command", [[], ["run"], ["analyse"], ["status"], ["ui"], ["env"], ["models"], ["serve"], ["collect"]]
)
def test_every_command_explains_itself(command: list[str], tmp_path: Path) -> None:
    text = homes.butterquant(*command, "--help", home=tmp_path, forked=False).stdout
    assert len(text) > 200
    assert "Usage" in text
    assert "\\b" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--source", "yahoo"], "'yahoo' is not one of 'sample', 'files'"),
        (["run", "--source", "files"], "needs the folder to read: pass --data DIR"),
        (["run", "--data", "somewhere"], "reads no folder"),
        (["run", "--start", "2015"], "'2015' is not a month"),
        (["run", "--start", "1990-01"], "source 'sample' holds prices and VIX for 2014-01 .. 2018-12"),
        (["run", "--start", "2017-01", "--end", "2016-01"], "lies after end"),
        (["run", "--nonsense"], "No such option"),
        (["analyse", "SIM01", "yesterday"], "'yesterday' is not a date"),
        (["status"], "is not a home directory yet"),
    ],
)
def test_bad_usage_exits_with_2_and_says_what_was_expected(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused(*arguments, home=tmp_path / "home", code=2)


def test_an_unknown_setting_in_the_environment_exits_with_2(tmp_path: Path) -> None:
    text = refused("run", home=tmp_path / "home", code=2, BUTTERQUANT_SAMPLNG="1")
    assert "BUTTERQUANT_SAMPLNG is not a setting" in text


def test_a_selection_that_names_nothing_exits_with_2(tmp_path: Path) -> None:
    options = ("--start", "2016-03", "--end", "2016-03")
    assert "names no asset" in refused("run", *options, "--select", "group:nothing", home=tmp_path / "home", code=2)


def test_a_home_is_bound_to_its_source(tmp_path: Path, data: Path) -> None:
    home = tmp_path / "home"
    homes.butterquant("run", "--start", "2016-03", "--end", "2016-03", "--select", "key:market/vix", home=home)
    text = refused("run", "--source", "files", "--data", str(data), home=home, code=2)
    assert "is bound to" in text
    assert "use another home" in text
    assert "bound to start = '2016-03'" in refused("run", "--start", "2016-04", home=home, code=2)


def test_a_selection_rebuilds_only_what_it_names(tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ("--start", "2016-03", "--end", "2016-03", "--json")
    done = homes.butterquant("run", *options, "--select", "key:market/vix", home=home)
    assert homes.rebuilt(json.loads(done.stdout)) == {"market/vix": 29}
    status = json.loads(homes.butterquant("status", "--json", home=home).stdout)
    assert {e["asset"] for e in status["assets"] if e["materialised"]} == {"market/vix"}


def test_analyse_prints_one_full_analysis_from_bars_up_to_the_date_only(tmp_path: Path, data: Path) -> None:
    options = ("--source", "files", "--data", str(data), "--json")
    tickers = pd.read_parquet(data / "stocks_daily.parquet")["symbol"].unique()
    done = homes.butterquant("analyse", tickers[0], "2016-06-01", *options, home=tmp_path / "home")
    answer = json.loads(done.stdout)
    assert answer["ticker"] == tickers[0]
    assert answer["lower_strike"] < answer["center_strike"] < answer["upper_strike"]
    assert len(answer["features"]) == 23
    assert not (tmp_path / "home").exists()  # it stores nothing


@pytest.mark.parametrize(
    ("ticker", "date", "message"),
    [("NOPE", "2016-06-01", "'NOPE' has no bars"), (None, "2016-06-04", "no_bar_on_date|no quoted bar")],
)
def test_analyse_says_why_there_is_no_analysis(
    tmp_path: Path, data: Path, ticker: str | None, date: str, message: str
) -> None:
    import re

    name = ticker or pd.read_parquet(data / "stocks_daily.parquet")["symbol"].iloc[0]
    text = refused("analyse", name, date, "--source", "files", "--data", str(data), home=tmp_path / "home", code=1)
    assert re.search(message, text)


def start_files_home(home: Path, data: Path) -> str:
    return refused(
        *("run", "--source", "files", "--data", str(data), "--start", homes.START, "--end", homes.END),
        *("--select", "group:market"),
        home=home,
        code=1,
    )


def test_a_truncated_file_is_refused_by_name(tmp_path: Path, data: Path) -> None:
    broken = tmp_path / "data"
    broken.mkdir()
    for file in data.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    bars = broken / "stocks_daily.parquet"
    bars.write_bytes(bars.read_bytes()[:-100])
    assert "stocks_daily.parquet" in start_files_home(tmp_path / "home", broken)


def test_a_csv_without_a_needed_column_is_refused_by_column(tmp_path: Path, data: Path) -> None:
    broken = tmp_path / "data"
    broken.mkdir()
    pd.read_parquet(data / "stocks_daily.parquet").drop(columns="volume").to_csv(
        broken / "stocks_daily.csv", index=False
    )
    (broken / "vix_daily.parquet").write_bytes((data / "vix_daily.parquet").read_bytes())
    text = start_files_home(tmp_path / "home", broken)
    assert "stocks_daily.csv" in text
    assert "volume" in text


def test_bad_bars_are_refused_row_by_row_with_reason_and_the_good_ones_stay(tmp_path: Path, data: Path) -> None:
    folder, home = tmp_path / "data", tmp_path / "home"
    folder.mkdir()
    for file in data.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    bars = pd.read_parquet(folder / "stocks_daily.parquet")
    first, second = bars["symbol"].unique()[:2]

    def row(symbol: str, day: str) -> int:
        return int(bars.index[(bars["symbol"] == symbol) & (bars["timestamp"] == day)][0])

    prices = ["open", "high", "low", "close"]
    bars.loc[row(first, "2016-04-12"), prices] = -5.0
    bars.loc[row(first, "2016-04-13"), prices] = 0.0
    duplicate = bars.loc[[row(second, "2016-05-03")]]
    young = bars.loc[bars["symbol"] == second].tail(30).assign(symbol="YOUNG")
    pd.concat([bars, duplicate, young], ignore_index=True).to_parquet(folder / "stocks_daily.parquet")
    options = ("--source", "files", "--data", str(folder), "--start", homes.START, "--end", homes.END)
    homes.butterquant("run", *options, "--select", "group:market", home=home)
    rejects = pd.concat(map(pd.read_parquet, sorted((home / "lake/market/bar_rejects").glob("*.parquet"))))
    lost = rejects[rejects["action"] == "rejected"]
    assert sorted(zip(lost["ticker"], lost["session"].dt.strftime("%m-%d"), lost["reason"], strict=True)) == sorted(
        [
            (first, "04-12", "non_positive_price"),
            (first, "04-13", "non_positive_price"),
            (second, "05-03", "duplicate"),
        ]
    )
    assert lost["row"].str.contains("stocks_daily.parquet").all()
    stored = pd.concat(map(pd.read_parquet, sorted((home / "lake/market/equity_bars").glob("*.parquet"))))
    months = bars["timestamp"].dt.strftime("%Y-%m")
    inside = bars[(months >= "2014-01") & (months <= "2016-10")]
    assert len(stored) == len(inside) - 2 + 30
    assert not stored.duplicated(["session", "ticker"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("bars", ["defective_stocks_daily", "djia30_daily"])
def test_defective_real_files_end_with_every_row_kept_or_refused_with_a_reason(tmp_path: Path, bars: str) -> None:
    data, home = data_dir(), tmp_path / "home"
    options = ("--source", "files", "--data", str(data), "--start", "2010-01", "--end", "2012-12", "--json")
    done = homes.butterquant(
        "run", *options, "--select", "group:market", home=home, check=False, BUTTERQUANT_BARS_DATASET=bars
    )
    report = json.loads(done.stdout)
    assert report["status"] in ("done", "incomplete")
    raw = pd.read_parquet(data / f"{bars}.parquet")
    months = raw["timestamp"].dt.strftime("%Y-%m")
    asked = ((months >= "2007-11") & (months <= "2013-02")).sum()
    folders = [home / "lake/market/equity_bars", home / "lake/_quarantine/market/equity_bars"]
    kept = {file.name: file for folder in folders for file in folder.glob("*.parquet")}
    stored = pd.concat(map(pd.read_parquet, kept.values()))
    rejects = pd.concat(map(pd.read_parquet, sorted((home / "lake/market/bar_rejects").glob("*.parquet"))))
    lost = rejects[(rejects["action"] == "rejected") & (rejects["dataset"] == "equity_bars")]
    assert len(stored) + len(lost) == asked
    assert (stored[["open", "high", "low", "close"]] > 0).all(axis=None)


@pytest.mark.slow
def test_hourly_bars_are_refused_as_daily_ones(tmp_path: Path) -> None:
    options = ("--source", "files", "--data", str(data_dir()), "--start", "2021-08", "--end", "2021-09")
    text = refused("run", *options, home=tmp_path / "home", code=1, BUTTERQUANT_BARS_DATASET="defective_crypto_1h")
    assert "defective_crypto_1h.parquet" in text


@pytest.mark.slow
def test_the_real_stocks_run_from_bars_to_onnx(tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ("--source", "files", "--data", str(data_dir()), "--start", "2015-07", "--end", "2016-06", "--json")
    quota = {"LOW_DAYS": "40", "NORMAL_DAYS": "60", "HIGH_DAYS": "40", "TICKERS_PER_DAY": "20"}
    environment = {f"BUTTERQUANT_SAMPLING__{name}": value for name, value in quota.items()}
    rows = ("TRAINING__MINIMUM_ROWS", "TRAINING__STEP_ROWS", "SHORT_TERM__MINIMUM_TRAIN_ROWS", "SHORT_TERM__STEP_ROWS")
    environment |= {f"BUTTERQUANT_{name}": "600" for name in rows}
    environment["BUTTERQUANT_MONITORING__HTML"] = "true"
    report = json.loads(homes.butterquant("run", *options, home=home, forked=False, **environment).stdout)
    assert report["status"] == "done"
    found = report["findings"]
    assert found["strata"]["high"]["taken_days"] == found["strata"]["high"]["found_days"] == 26
    assert found["training_rows"] > 2000
    assert Path(found["model"]["onnx"]).is_file()
    analyses = pd.concat(map(pd.read_parquet, sorted((home / "lake/butterfly/analyses").glob("*.parquet"))))
    assert (analyses["debit"] > 0).all()
    assert (analyses["debit"] < analyses["width"]).all()
    rejected = sum(found["analysis_rejects"].values())
    assert rejected / (rejected + len(analyses)) < 0.2


@pytest.mark.slow
def test_the_webserver_and_daemon_start_on_an_empty_home_and_stop_together(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = forks.own_environment()
    command = [
        sys.executable,
        "-m",
        "butterquant_assets.cli",
        "ui",
        "--home",
        str(tmp_path / "home"),
        "--port",
        str(port),
        "--reports-port",
        "0",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=variables | homes.SETTINGS, cwd=tmp_path, stdout=log, stderr=log)
    try:
        body = json.dumps({"query": "{ assetNodes { assetKey { path } } }"}).encode()
        answer = wait_for(f"http://127.0.0.1:{port}/graphql", body, process)
        keys = {"/".join(node["assetKey"]["path"]) for node in answer["data"]["assetNodes"]}
        assert {"market/equity_bars", "butterfly/success_onnx"} <= keys
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "more than one head" not in (tmp_path / "log").read_text()


def wait_for(url: str, body: bytes, process: subprocess.Popen[bytes]) -> dict:
    for _ in range(240):
        assert process.poll() is None
        try:
            return httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=10).json()
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer")
