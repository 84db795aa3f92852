"""The exchange-simulator command refuses what it cannot serve before it serves anything."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from butterquant_assets.cli_exchange import exchange_simulator
from butterquant_assets.market.exchange.app import ExchangeApp
from butterquant_assets.market.exchange.clock import RunningClock, SteppedClock
from butterquant_assets.market.exchange.trading.credentials import demo_credentials
from butterquant_tests.market.exchange.trading.scripted import signed


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(exchange_simulator, words)
    return result.exit_code, result.output


def data_of(answer: Any) -> list[dict[str, Any]]:
    document = answer.json()
    assert document["code"] == "0", answer.text
    found: list[dict[str, Any]] = document["data"]
    return found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--faults", "gremlins"), "no fault is written 'gremlins'"),
        (("--now", "soon"), "expected a UTC time"),
        (("--now", "2020-01-01T00:00"), "nothing trades at 2020-01-01T00:00"),
        (("--edge", "3"), "edge 0 .. 1"),
        (("--coins", "1"), "cannot simulate 1 coins"),
        (("--balance", "0"), "a balance of 0.0 USDT cannot be traded with"),
        (("--run",), "--run needs a time to run from"),
    ],
)
def test_bad_usage_is_told_and_exits_with_2(words: tuple[str, ...], told: str) -> None:
    code, output = run(*words)
    assert code == 2
    assert told in output


def test_a_folder_without_recorded_bars_is_bad_usage(tmp_path: Path) -> None:
    code, output = run("--data", str(tmp_path))
    assert code == 2
    assert "name a folder that holds recorded swap bars" in output


def test_a_port_that_is_taken_is_bad_usage() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = run("--port", str(taken.getsockname()[1]), "--now", "2023-02-01T00:30", "--coins", "3")
    assert code == 2
    assert "choose another --port" in output


def test_it_prints_the_simulated_key_it_accepts_and_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[ExchangeApp] = []
    monkeypatch.setattr(
        "butterquant_assets.market.exchange.server.serve_exchange", lambda app, port: served.append(app)
    )
    words = ("--now", "2023-02-01T00:30", "--coins", "3", "--seed", "4", "--balance", "2500", "--hedged")
    code, output = run(*words)
    assert code == 0
    key = demo_credentials(4)
    assert f"apiKey {key.key}\n  secret {key.secret}\n  passphrase {key.passphrase}" in output
    assert "Simulated account with 2,500.00 USDT" in output
    (app,) = served
    (row,) = data_of(signed(app, "GET", "account/balance", credentials=key))
    assert row["totalEq"] == "2500"
    assert data_of(signed(app, "GET", "account/config", credentials=key))[0]["posMode"] == "long_short_mode"


def test_time_runs_on_from_the_moment_given_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[ExchangeApp] = []
    monkeypatch.setattr(
        "butterquant_assets.market.exchange.server.serve_exchange", lambda app, port: served.append(app)
    )
    words = ("--now", "2023-02-01T00:30", "--coins", "3")
    assert run(*words)[0] == run(*words, "--run")[0] == 0
    assert [type(app.clock) for app in served] == [SteppedClock, RunningClock]
    assert served[0].clock() == 1_675_211_400_000 <= served[1].clock()
