"""What the command line starts of Dagster's own processes, where one house is missing."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from click.testing import CliRunner

from butterquant_assets import definitions, processes, runner
from butterquant_assets.cli import main
from butterquant_assets.definitions import Settings
from butterquant_assets.foundation.errors import ButterQuantError, ConfigError, SourceError
from butterquant_assets.foundation.settings import load_settings
from butterquant_assets.orchestration.event_batches import BATCH_EVENTS, BATCH_VARIABLE


@pytest.fixture(autouse=True)
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A new home beside a crypto folder that is not there."""
    crypto = {"source": "files", "data_dir": str(tmp_path / "unmounted")}
    given = {"HOME": str(tmp_path / "home"), "START": "2016-03", "END": "2016-03", "CRYPTO": json.dumps(crypto)}
    before = dict(os.environ)
    for name, value in given.items():
        monkeypatch.setenv(f"BUTTERQUANT_{name}", value)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


class Ended:
    """A process that has ended."""

    returncode = 3
    environments: ClassVar[list[dict[str, str]]] = []

    def __init__(self, _command: list[str], env: dict[str, str], cwd: Path) -> None:
        Ended.environments.append(env)

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float) -> int:
        return self.returncode

    def send_signal(self, _signal: int) -> None: ...

    def terminate(self) -> None: ...


def test_the_ui_starts_with_the_equity_house_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.subprocess, "Popen", Ended)
    Ended.environments.clear()
    said: list[str] = []
    with pytest.raises(ButterQuantError, match="dagster_webserver ended with 3"):
        processes.serve_ui(load_settings(Settings, {}), "127.0.0.1", 0, 0, said.append)
    (text,) = said
    assert text.startswith("the crypto house is missing, because its source cannot be read")
    assert str(tmp_path / "unmounted") in text
    assert [environment[BATCH_VARIABLE] for environment in Ended.environments] == [BATCH_EVENTS] * 3


def test_the_one_that_ended_by_itself_is_named_and_not_one_that_was_ended_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Daemon(Ended):
        def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
            self.returncode = 3 if command[2] == "dagster._daemon" else None

        def send_signal(self, signal: int) -> None:
            self.returncode = -signal if self.returncode is None else self.returncode

    monkeypatch.setattr(processes.subprocess, "Popen", Daemon)
    with pytest.raises(ButterQuantError, match=r"^dagster\._daemon ended with 3; its messages are above$"):
        processes.serve_ui(load_settings(Settings, {}), "127.0.0.1", 0, 0, lambda _: None)


@pytest.mark.parametrize("option", ["--port", "--reports-port"])
def test_an_address_that_is_taken_is_refused_before_anything_is_started(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.subprocess, "Popen", Ended)
    Ended.environments.clear()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = {"--port": 0, "--reports-port": 0} | {option: taken}
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{taken} \(.* in use\): choose another {option}$"):
            processes.serve_ui(load_settings(Settings, {}), "127.0.0.1", *ports.values(), lambda _: None)
    assert not Ended.environments


def test_the_code_location_holds_the_equity_house_and_tells_of_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded: dg.Definitions = definitions.defs()
    keys = {key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()}
    assert "market/vix" in keys
    assert "market/crypto_bars" not in keys
    told: Any = loaded.metadata["crypto house"]
    assert str(tmp_path / "unmounted") in told.value
    assert "the crypto house is missing" in caplog.text
    assert "crypto_freshness_sensor" not in {sensor.name for sensor in loaded.get_repository_def().sensor_defs}


def test_the_variables_for_dagster_are_told_beside_what_is_missing() -> None:
    done = CliRunner().invoke(main, ["env"])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("PROBLEM  the crypto house is missing")
    assert [line.partition("=")[0] for line in done.stdout.splitlines()] == [
        "export BUTTERQUANT_HOME",
        "export DAGSTER_HOME",
    ]


def test_a_backfill_of_months_is_taken_and_one_of_days_refused_for_the_source_that_cannot_be_read() -> None:
    settings = load_settings(Settings, {})
    asked = runner.ask_for_backfill(settings, "2016-03", "2016-03", 'key:"market/vix"')
    assert list(asked["assets"]) == ["market/vix"]
    with pytest.raises(SourceError, match="unmounted"):
        runner.ask_for_backfill(settings, "2016-03-01", "2016-03-02", None)
