"""`butterquant models`: what it says, what it changes, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from butterquant_assets.cli_models import models
from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.lake import Footer, Lake, combine, content_hash
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.settings import HomeSettings, bind_home
from butterquant_assets.learning.cards import build_card

A, B, C = "a1" + "0" * 14, "b1" + "0" * 14, "a2" + "0" * 14
WHEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
GAIN = {"gain": 0.031, "low": 0.004, "high": 0.058, "episodes": 9, "beats_geometry": True}


def footer(frame: pd.DataFrame, inputs: Mapping[str, str]) -> Footer:
    return Footer(content_hash(frame), dict(inputs), "code", "config", Verdict({}), len(frame))


def write_lake(lake: Lake) -> str:
    """A training set made from two months of bars; returns the hash a model card would hold for it."""
    for month, rows in (("2014-01", 3), ("2014-02", 4)):
        bars = pd.DataFrame({"close": np.arange(float(rows))})
        lake.write("market/equity_bars", month, bars, footer(bars, {"source:equity_bars": "s"}))
    training = pd.DataFrame({"x": [1.0, 2.0]})
    lake.write("butterfly/training_set", None, training, footer(training, {"market/equity_bars|SIM01": "b"}))
    return combine([f"None={content_hash(training)}"])


def card(training_content: str, log_loss: float, **changes: Any) -> dict[str, Any]:
    evaluation = pd.DataFrame(
        [
            ("model", "validation", "log_loss", 5.0),
            ("geometry", "test", "log_loss", 1.30),
            ("geometry", "test", "accuracy", 0.41),
            ("all_rows", "test", "mean_roi_net", 0.01),
            ("model", "test", "log_loss", log_loss),
            ("model", "test", "accuracy", 0.44),
        ],
        columns=["predictor", "part", "metric", "value"],
    )
    parts = {"rows": 2431, "episodes": 7, "first_entry": "2014-01-02", "last_entry": "2016-11-03"}
    return build_card(
        **{
            "purpose": "Probabilities of four ROI classes.",
            "architecture": {"hidden": [8]},
            "features": ["x"],
            "label": "label_mark",
            "label_definition": "closing at the Black-Scholes value",
            "class_names": ["loss", "gain"],
            "training": {"epochs": 3},
            "splits": {"train": parts, "test": {"rows": 500}},
            "confusion_matrix": [[1, 2], [3, 4]],
            "verdict": GAIN | {"gain": 1.30 - log_loss, "sentence": "The model beats geometry."},
            "data_versions": {"butterfly/training_set": training_content},
            "code_version": "c0de",
            "config": {},
            "seeds": {"training": 7},
            "limits": ["Not an offer to trade."],
            "onnx_parity": pd.DataFrame({"batch": [1], "max_abs_difference": [0.0]}),
        }
        | changes,
        evaluation=evaluation,
    )


@pytest.fixture
def settings(tmp_path: Path) -> HomeSettings:
    made = HomeSettings(home=tmp_path / "home")
    span = {"start": "2014-01", "end": "2016-12", "market_start": "2012-01", "market_end": "2017-02"}
    bind_home(made, span)
    return made


@pytest.fixture
def home(settings: HomeSettings) -> Path:
    """A home with three registered versions, none in service."""
    trained_on = write_lake(Lake(settings.lake_location))
    store = ModelStore(settings.models_location)
    ticks = iter(range(100))
    with Registry(settings.warehouse_location, store, clock=lambda: WHEN + timedelta(hours=next(ticks))) as registry:
        for version, log_loss in ((A, 1.27), (B, 1.24), (C, 1.35)):
            store.write_weights("success", version, {"w": np.zeros(2)}, {"seed": 7}, {})
            store.publish("success", version, version.encode(), card(trained_on, log_loss))
            registry.register(store.load_card("success", version))
    return settings.home


@pytest.fixture
def registry(home: Path, settings: HomeSettings) -> Any:
    with Registry(settings.warehouse_location, ModelStore(settings.models_location), clock=lambda: WHEN) as opened:
        yield opened


def call(home: Path, *arguments: str, code: int = 0) -> str:
    """Output of a command that must end with `code`; never a traceback."""
    done: Result = CliRunner().invoke(models, [*arguments, *(() if "--help" in arguments else ("--home", str(home)))])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert done.exit_code == code, done.output
    return done.output


def answer(home: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(call(home, *arguments, "--json", code=code))
    return document


def promote(home: Path, version: str, *options: str, code: int = 0) -> str:
    return call(home, "promote", version, "--reason", "for the test", "--actor", "anna", *options, code=code)


@pytest.mark.parametrize("command", [[], *([name] for name in models.commands)])
def test_every_command_explains_itself(command: list[str], tmp_path: Path) -> None:
    text = call(tmp_path, *command, "--help")
    assert "Usage" in text
    assert len(text) > 300


@pytest.mark.parametrize("command", [["list"], ["show", "a1"], ["history"], ["rollback", "--reason", "x"]])
def test_a_folder_that_is_no_home_is_refused_and_not_touched(tmp_path: Path, command: list[str]) -> None:
    assert "is not a home directory yet: run `butterquant run" in call(tmp_path / "none", *command, code=2)
    assert not (tmp_path / "none").exists()


def test_a_home_without_models_says_what_to_do(settings: HomeSettings) -> None:
    assert "No model is registered yet: run `butterquant run`" in call(settings.home, "list")
    assert "Nothing is on record yet" in call(settings.home, "history")
    assert "none yet: run `butterquant run` first" in call(settings.home, "show", "a1", code=2)


def test_the_list_shows_each_version_with_role_evidence_and_time(home: Path) -> None:
    promote(home, "b1", "--force")
    lines = call(home, "list").splitlines()
    assert lines[0].split() == ["model", "version", "role", "trained", "on", "log-loss", "gain", "published", "(UTC)"]
    first = re.split(r"\s{2,}", lines[1])
    trained = "2,431 rows to 2016-11-03, 7 episodes"
    assert first == ["success", B, "champion", trained, "1.2400", "+0.0600", "2026-03-02 11:30:00"]
    assert [line.split()[1] for line in lines[1:4]] == [B, C, A]  # the champion, then the newest
    assert {len(line) for line in lines[1:4]} == {len(lines[1])}


def test_the_list_as_json_holds_the_same(home: Path) -> None:
    document = answer(home, "list")
    assert document["warnings"] == []
    first = document["models"][-1]
    assert first["version"] == A
    assert (first["role"], first["log_loss"], first["beats_geometry"]) == ("challenger", 1.27, True)
    assert first["gain_over_geometry"] == pytest.approx(0.03)
    assert first["trained_on"]["rows"] == 2431
    assert "No version serves" in call(home, "list")


def test_the_list_of_another_model_is_empty(home: Path) -> None:
    assert answer(home, "list", "--name", "volatility")["models"] == []


def test_a_lost_card_is_reported_beside_what_the_warehouse_knows(home: Path) -> None:
    shutil.rmtree(home / "models" / "success" / C)
    lost = {e["version"]: e for e in answer(home, "list")["models"]}[C]
    assert "is not published" in lost["problem"]
    assert (lost["log_loss"], lost["gain_over_geometry"]) == (1.35, None)
    assert f"PROBLEM  success {C} is not published" in call(home, "list")


def test_a_pointer_that_lags_behind_is_mended_and_said(home: Path, settings: HomeSettings) -> None:
    promote(home, "a1", "--force")
    ModelStore(settings.models_location).set_champion("success", B)
    assert f"NOTE  the pointer file of success named {B}, the warehouse {A}; the file now says" in call(home, "list")
    assert ModelStore(settings.models_location).champion("success") == A
    assert "NOTE" not in call(home, "list")


def test_show_tells_everything_about_a_version(home: Path) -> None:
    text = call(home, "show", "b1")
    for said in (
        f"success {B}: challenger",
        "Probabilities of four ROI classes.",
        "label_mark: closing at the Black-Scholes value",
        "+0.0600 [+0.0040, +0.0580] nats a row over 9 episodes",
        "Judged on its test part",
        "The model beats geometry.",
        "as the model was trained on",
        "2014-01 .. 2014-02",
        "source:equity_bars",
        "registered",
        "model.onnx",
        "Not an offer to trade.",
    ):
        assert said in text, said
    model, geometry = (line.split() for line in text.splitlines() if re.match(r"  (model|geometry) ", line))
    assert model == ["model", "1.2400", "0.4400"]
    assert geometry == ["geometry", "1.3000", "0.4100"]
    assert "all_rows" not in text  # it has none of the metrics shown


def test_show_as_json_traces_the_data_to_the_source(home: Path) -> None:
    lineage = answer(home, "show", "b1")["lineage"]
    assert [(t["asset"], t["state"]) for t in lineage] == [
        ("butterfly/training_set", "unchanged"),
        ("market/equity_bars", "upstream"),
        ("source:equity_bars", "upstream"),
    ]
    assert (lineage[1]["partitions"], lineage[1]["rows"]) == (2, 7)


def test_show_says_when_the_data_have_changed_or_gone_since(home: Path, settings: HomeSettings) -> None:
    lake = Lake(settings.lake_location)
    other = pd.DataFrame({"x": [1.0, 2.5]})
    lake.write("butterfly/training_set", None, other, footer(other, {}))
    assert "CHANGED since the model was trained" in call(home, "show", "b1")
    shutil.rmtree(settings.lake_location)
    assert "no longer in the lake" in call(home, "show", "b1")


def test_show_of_an_altered_version_exits_with_1_and_names_the_file(home: Path) -> None:
    (home / "models" / "success" / B / "weights.safetensors").write_bytes(b"x")
    text = call(home, "show", "b1", code=1)
    assert "PROBLEM" in text
    assert "weights.safetensors was altered" in text
    assert answer(home, "show", "b1", code=1)["role"] == "challenger"


@pytest.mark.parametrize(
    ("prefix", "message"),
    [("a", f"'a' could be success {C}, success {A}; write more"), ("f", "no registered version starts with 'f'")],
)
def test_a_version_that_is_not_clear_exits_with_2(home: Path, prefix: str, message: str) -> None:
    assert message in call(home, "show", prefix, code=2)


def test_compare_puts_metrics_side_by_side(home: Path) -> None:
    document = answer(home, "compare", "a1", "b1")
    assert document["metrics"]["log_loss"] == {"first": 1.27, "second": 1.24, "difference": pytest.approx(-0.03)}
    assert (document["caveats"], document["paired_evidence"]) == ([], [])
    text = call(home, "compare", "a1", "b1")
    assert "No paired evidence on record" in text
    log_loss = next(line for line in text.splitlines() if line.startswith("log_loss"))
    assert log_loss.split() == ["log_loss", "1.2700", "1.2400", "-0.0300"]


def test_compare_shows_paired_evidence_of_either_against_the_other(home: Path, registry: Registry) -> None:
    promote(home, "a1", "--force")
    evidence = {"promoted": False, "difference": -0.012, "low": -0.03, "high": 0.008, "episodes": 9}
    registry.refuse("success", B, evidence=evidence, actor="judge", reason="no better than the champion")
    text = call(home, "compare", "b1", "a1")
    assert "no better than the champion" in text
    assert "-0.012" in text
    assert [e["version"] for e in answer(home, "compare", "b1", "a1")["paired_evidence"]] == [B]
    assert answer(home, "compare", "b1", "a2")["paired_evidence"] == []


def test_compare_warns_where_metrics_cannot_be_compared(home: Path, settings: HomeSettings, registry: Registry) -> None:
    store, version = ModelStore(settings.models_location), "c" * 16
    store.write_weights("success", version, {"w": np.zeros(2)}, {}, {})
    other = card("other", 1.1, label="label_net", splits={"train": {"rows": 1}, "test": {"rows": 600}})
    store.publish("success", version, b"onnx", other)
    registry.register(store.load_card("success", version))
    text = call(home, "compare", "a1", "cc")
    assert "CAUTION  they predict different labels, label_mark and label_net" in text
    assert "CAUTION  they were judged on different rows" in text


def test_a_version_is_not_compared_with_itself(home: Path) -> None:
    assert "are the same version" in call(home, "compare", "a1", A, code=2)


def test_promotion_without_evidence_is_refused_and_changes_nothing(home: Path, registry: Registry) -> None:
    text = promote(home, "a1", code=1)
    assert f"nothing on record speaks for promoting success {A} over no champion: it was never judged" in text
    assert "--force" in text
    assert registry.champion("success") is None


def test_a_refused_version_is_not_promoted_and_the_message_says_why(home: Path, registry: Registry) -> None:
    promote(home, "a1", "--force")
    registry.refuse("success", B, evidence={"promoted": False}, actor="judge", reason="no better")
    text = promote(home, "b1", code=1)
    assert f"the last word is 'refused', 2026-03-02, when {A} served: no better" in text


def test_a_forced_promotion_is_recorded_as_such_with_what_it_overruled(home: Path, registry: Registry) -> None:
    promote(home, "a1", "--force")
    refusal = registry.refuse("success", B, evidence={"promoted": False}, actor="judge", reason="no better")
    assert "promoted by force, without evidence in favour" in promote(home, "b1", "--force")
    event = registry.history("success")[-1]
    assert (event.action, event.actor, event.reason) == ("promoted", "anna", "for the test")
    assert event.evidence == {"forced": True, "overruled": refusal.to_json()}
    assert "promoted (forced)" in call(home, "history")


def test_evidence_in_favour_promotes_and_is_kept_with_the_event(home: Path, registry: Registry) -> None:
    promote(home, "a1", "--force")
    evidence = {"promoted": True, "difference": 0.03}
    registry.judged("success", B, evidence=evidence, actor="judge", reason="better")
    text = promote(home, "b1")
    assert f"success {B} was promoted" in text
    assert f"it takes the place of {A}" in text
    assert registry.history("success")[-1].evidence == evidence
    assert "is in service already" in promote(home, "b1")
    assert answer(home, "promote", "b1", "--reason", "again")["changed"] is False


def test_a_lost_champion_does_not_stand_in_the_way_of_another(
    home: Path, settings: HomeSettings, registry: Registry
) -> None:
    promote(home, "a1", "--force")
    (home / "models" / "success" / "champion.json").unlink()
    shutil.rmtree(home / "models" / "success" / A)
    assert "NOTE  the champion of success cannot serve: success" in call(home, "list")
    promote(home, "b1", "--force")
    assert ModelStore(settings.models_location).champion("success") == B


def test_rollback_restores_the_champion_before_and_then_refuses(home: Path, settings: HomeSettings) -> None:
    promote(home, "a1", "--force")
    promote(home, "b1", "--force")
    text = call(home, "rollback", "--reason", "prices look wrong", "--actor", "anna")
    assert f"success {A} was restored" in text
    assert f"it takes the place of {B}" in text
    assert ModelStore(settings.models_location).champion("success") == A
    assert "cannot be rolled back" in call(home, "rollback", "--reason", "more", code=1)


def test_changes_need_a_reason(home: Path) -> None:
    assert "Missing option '--reason'" in call(home, "promote", "a1", code=2)
    assert "Missing option '--reason'" in call(home, "rollback", code=2)
    assert "reason is empty" in call(home, "rollback", "--reason", " ", code=2)


def test_the_history_names_who_did_what_and_why(home: Path) -> None:
    promote(home, "a1", "--force")
    lines = [re.split(r"\s{2,}", line.strip()) for line in call(home, "history").splitlines()]
    assert lines[0][:4] == ["1", "2026-03-02 10:30", "registered", A]
    assert (lines[3][0], lines[3][2:]) == ("4", ["promoted (forced)", A, "anna", "for the test"])
    events = answer(home, "history", "--name", "success")["events"]
    assert [e["sequence"] for e in events] == [1, 2, 3, 4]
    assert events[-1]["evidence"]["forced"] is True


def test_the_actor_is_the_login_name_unless_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "berta")
    assert answer(home, "promote", "a1", "--force", "--reason", "x")["event"]["actor"] == "berta"
