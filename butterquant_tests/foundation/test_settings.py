from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.settings import (
    HomeSettings,
    SectionBinding,
    bind_home,
    bind_section,
    load_settings,
    read_binding,
    refuse_other_binding,
)

SPAN = {"start": "2015-01", "end": "2016-12", "market_start": "2012-11", "market_end": "2017-02"}


def load(environment: dict[str, str] | None = None, **given: object) -> HomeSettings:
    return load_settings(HomeSettings, given, environment or {})


def test_the_caller_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BUTTERQUANT_SEED", "11")
    monkeypatch.setenv("BUTTERQUANT_HOME", str(tmp_path))
    assert load().seed == 11
    assert load(seed=12).seed == 12
    assert load().home == tmp_path


def test_an_unknown_environment_variable_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="BUTTERQUANT_SEEED is not a setting"):
        load({"BUTTERQUANT_SEEED": "1"})


def test_variables_of_the_tests_are_not_settings() -> None:
    load({"BUTTERQUANT_TEST_POSTGRES_URL": "x", "BUTTERQUANT_REQUIRE_SERVICES": "1", "PATH": "/bin"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "2015"}, "'2015' is not a month"),
        ({"end": "2015-13"}, "'2015-13' is not a month"),
        ({"start": "2016-01", "end": "2015-01"}, "start 2016-01 lies after end 2015-01"),
        ({"source": "yahoo"}, "source"),
        ({"source": "files"}, "needs the folder to read"),
        ({"source": "sample", "data_dir": "/somewhere"}, "reads no folder"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_settings_are_refused_with_the_value(tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(home=tmp_path, **given)


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        load(home=tmp_path).seed = 3  # type: ignore[misc]


def test_a_bound_home_hands_its_binding_on_and_refuses_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    bind_home(load(home=tmp_path, source="files", data_dir=data, seed=3), SPAN)
    inherited = load(home=tmp_path)
    assert (inherited.source, inherited.data_dir, inherited.start, inherited.seed) == ("files", data, "2015-01", 3)
    assert load(home=tmp_path, source="files", start="2015-01").end == "2016-12"
    for key, value in {"source": "sample", "start": "2014-01", "seed": 4, "data_dir": tmp_path}.items():
        with pytest.raises(ConfigError, match=f"bound to {key}.*use another home"):
            load(home=tmp_path, **{key: value})


def test_binding_twice_keeps_the_first(tmp_path: Path) -> None:
    settings = load(home=tmp_path)
    first = bind_home(settings, SPAN)
    assert bind_home(settings, {**SPAN, "start": "2010-01"}) == first == read_binding(tmp_path)


def test_a_damaged_binding_is_named(tmp_path: Path) -> None:
    (tmp_path / "home.json").write_text("{")
    with pytest.raises(ConfigError, match=r"home\.json cannot be read"):
        load(home=tmp_path)


def test_a_password_in_the_warehouse_url_stays_out_of_error_messages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(home=tmp_path, warehouse_url="postgresql://u:hunter2@h/d", start="bad")
    assert "hunter2" not in str(caught.value)


@dataclass(frozen=True)
class Desk:
    """A section of a line."""

    source: str = "sample"
    folder: Path | None = None
    coins: int = 12
    speed: float = 1.0

    def __post_init__(self) -> None:
        if (self.source == "files") != (self.folder is not None):
            raise ConfigError(f"desk source {self.source!r} and folder {self.folder} do not go together")


class DeskSettings(HomeSettings):
    """Settings with a section that is bound by a file of its own."""

    desk: Desk = Desk()
    bound_sections: ClassVar[Mapping[str, SectionBinding]] = {
        "desk": SectionBinding("desk.json", ("source", "folder", "coins"))
    }


def test_a_bound_section_hands_its_fields_on_and_refuses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_settings(DeskSettings, {"home": tmp_path, "desk": Desk("files", tmp_path, 3, 2.0)}, {})
    assert bind_section(first, "desk", {"start": "2024-01-01"})["start"] == "2024-01-01"
    later = load_settings(DeskSettings, {"home": tmp_path}, {})
    assert later.desk == Desk("files", tmp_path, 3, 1.0)  # speed may change from run to run
    monkeypatch.setenv("BUTTERQUANT_DESK__SPEED", "4")
    monkeypatch.setenv("BUTTERQUANT_DESK__FOLDER", str(tmp_path))  # states the folder, and leaves the source out
    assert load_settings(DeskSettings, {"home": tmp_path}, {}).desk == Desk("files", tmp_path, 3, 4.0)
    monkeypatch.setenv("BUTTERQUANT_DESK__COINS", "5")
    with pytest.raises(ConfigError, match=r"bound to desk coins = 3, but 5 was asked for.*use another home"):
        load_settings(DeskSettings, {"home": tmp_path}, {})
    with pytest.raises(ConfigError, match="bound to desk coins = 3, but 12"):
        refuse_other_binding(DeskSettings(home=tmp_path, desk=Desk("files", tmp_path)), "desk")


def test_a_section_of_a_home_that_is_not_bound_yet_is_what_is_stated(tmp_path: Path) -> None:
    assert load_settings(DeskSettings, {"home": tmp_path, "desk": {"coins": 4}}, {}).desk.coins == 4
    assert read_binding(tmp_path, "desk.json") == {}


def test_a_bound_section_refuses_another_source_by_its_name_and_not_for_what_it_would_inherit(tmp_path: Path) -> None:
    bind_section(load_settings(DeskSettings, {"home": tmp_path, "desk": Desk("files", tmp_path)}, {}), "desk", {})
    # Together with the folder of the binding, both would be refused for a folder that nobody named.
    with pytest.raises(ConfigError, match=r"bound to desk source = 'files', but 'sample' was asked for.*another home"):
        load_settings(DeskSettings, {"home": tmp_path, "desk": {"source": "sample"}}, {})


def test_a_bound_section_can_be_switched_off_and_on_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bind_section(load_settings(DeskSettings, {"home": tmp_path, "desk": Desk("files", tmp_path, 3)}, {}), "desk", {})
    with monkeypatch.context() as patched:
        patched.setenv("BUTTERQUANT_DESK__SOURCE", "none")
        assert load_settings(DeskSettings, {"home": tmp_path}).desk == Desk("none")
    assert load_settings(DeskSettings, {"home": tmp_path}).desk == Desk("files", tmp_path, 3)
