"""The command: what it refuses, and in which words."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.serving import command
from butterquant_assets.serving.gateway import Gateway
from butterquant_tests.serving.conftest import House

GOOD_TOKEN = "a-token-of-24-characters"  # noqa: S105 - of these tests only


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Gateway]:
    """Applications that would have been served."""
    monkeypatch.delenv("BUTTERQUANT_HOME", raising=False)
    monkeypatch.delenv(command.TOKEN_VARIABLE, raising=False)
    apps: list[Gateway] = []

    def instead(app: Gateway, listening: socket.socket) -> None:
        apps.append(app)
        listening.close()

    monkeypatch.setattr(command, "run_server", instead)
    return apps


def invoke(*arguments: Any, env: dict[str, str] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(command.serve, [str(a) for a in arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_it_explains_itself() -> None:
    code, text = invoke("--help")
    assert code == 0
    for option in command.serve.params:
        assert isinstance(option, click.Option)
        assert option.opts[0] in text


def test_it_starts_on_a_home_without_models(tmp_path: Path, started: list[Gateway]) -> None:
    code, text = invoke("--home", tmp_path, "--port", 0)
    assert (code, len(started)) == (0, 1)
    assert "serving success on http://127.0.0.1:" in text


def test_the_home_comes_from_the_environment(house: House, started: list[Gateway]) -> None:
    assert invoke("--port", 0, env={"BUTTERQUANT_HOME": str(house.home)})[0] == 0
    assert len(started) == 1


def test_a_home_that_is_not_there_is_refused(tmp_path: Path, started: list[Gateway]) -> None:
    code, text = invoke("--home", tmp_path / "nowhere", "--port", 0)
    assert (code, started) == (2, [])
    assert "there is no home directory" in text


def test_a_port_in_use_is_refused_with_what_to_do(tmp_path: Path, started: list[Gateway]) -> None:
    with command.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, text = invoke("--home", tmp_path, "--port", port)
    assert (code, started) == (2, [])
    assert f"port {port} on 127.0.0.1 is in use by another process" in text
    assert "pass --port" in text


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        command.listen("192.0.2.1", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_names_and_both_address_families_are_understood(host: str) -> None:
    with command.listen(host, 0) as bound:
        assert bound.getsockname()[1] > 0


def test_a_token_that_was_asked_for_but_is_not_set_does_not_leave_the_server_open(
    tmp_path: Path, started: list[Gateway]
) -> None:
    for value in ({}, {"DESK_TOKEN": ""}, {"DESK_TOKEN": "  "}):
        code, text = invoke("--home", tmp_path, "--port", 0, "--token-env", "DESK_TOKEN", env=value)
        assert (code, started) == (2, [])
        assert "DESK_TOKEN, which is not set" in text


@pytest.mark.parametrize("token", ["short-token", "\xe9" * 20, "a token\nof two lines"])
def test_a_token_that_cannot_serve_is_refused_without_being_shown(
    tmp_path: Path, started: list[Gateway], token: str
) -> None:
    code, text = invoke("--home", tmp_path, "--port", 0, env={command.TOKEN_VARIABLE: token})
    assert (code, started) == (2, [])
    assert "openssl rand -hex 32" in text
    assert token not in text


def test_an_open_server_on_a_public_address_is_warned_about(tmp_path: Path, started: list[Gateway]) -> None:
    arguments = ("--home", tmp_path, "--port", 0, "--host", "0.0.0.0")  # noqa: S104 - what is tested
    code, text = invoke(*arguments)
    assert code == 0
    assert "is open to whoever reaches it" in text
    code, text = invoke(*arguments, env={command.TOKEN_VARIABLE: GOOD_TOKEN})
    assert code == 0
    assert "is open to whoever reaches it" not in text
    assert GOOD_TOKEN not in text
    assert len(started) == 2
