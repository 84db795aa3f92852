"""The exchange-simulator command refuses what it cannot serve before it serves anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from butterquant_assets.cli_exchange import exchange_simulator


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(exchange_simulator, words)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--faults", "gremlins"), "no fault is written 'gremlins'"),
        (("--now", "soon"), "expected a UTC time"),
        (("--now", "2020-01-01T00:00"), "nothing trades at 2020-01-01T00:00"),
        (("--edge", "3"), "edge 0 .. 1"),
        (("--coins", "1"), "cannot simulate 1 coins"),
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
