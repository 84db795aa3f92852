"""The search: it finds what was planted, and gives the same trials whether interrupted or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.foundation.study_store import open_journal
from butterquant_assets.learning.tuning import (
    RANDOM_TRIALS,
    TRIALS_BEFORE_PRUNING,
    Objective,
    Parameter,
    Report,
    StudyResult,
    run_study,
)

SPACE = (
    Parameter("x", "float", -5, 5),
    Parameter("n", "int", 1, 64, log=True),
    Parameter("shape", "categorical", choices=((128, 64), (32,), None)),
)


def bowl(parameters: dict[str, Any], report: Report) -> float:
    """Lowest, 0, at x = 1.3, n = 8, shape (32,); three steps of which the first is the easiest."""
    value = (parameters["x"] - 1.3) ** 2 + abs(np.log(parameters["n"] / 8)) + 0.5 * (parameters["shape"] != (32,))
    for step in range(3):
        report(step, value + step)
    return float(value)


def study(folder: Path, objective: Objective = bowl, trials: int = 25, **options: Any) -> StudyResult:
    options = {"seed": 1, "name": "bowl", "space": SPACE} | options
    with open_journal(folder / "study.jsonl") as storage:
        return run_study(objective, options.pop("space"), storage=storage, trials=trials, **options)


class Killed(BaseException):
    """Stands for a process that dies: nothing in the product may catch it."""


def dying(after: int) -> Objective:
    """The bowl, dying in the middle of its trial number `after`."""
    calls = iter(range(10_000))

    def objective(parameters: dict[str, Any], report: Report) -> float:
        dies = next(calls) == after
        if dies:
            report(0, 0.0)
            raise Killed
        return bowl(parameters, report)

    return objective


def test_a_planted_optimum_is_found_and_better_than_by_chance(tmp_path: Path) -> None:
    found = study(tmp_path, trials=80)
    assert found.best.parameters["shape"] == (32,)
    assert abs(found.best.parameters["x"] - 1.3) < 0.3
    assert 6 <= found.best.parameters["n"] <= 11
    rng = np.random.default_rng(0)
    n = np.exp(rng.uniform(0, np.log(64.5), (200, 80))).round()
    by_chance = (rng.uniform(-5, 5, (200, 80)) - 1.3) ** 2 + abs(np.log(n / 8)) + 0.5 * (rng.random((200, 80)) > 1 / 3)
    assert found.best.value is not None
    assert found.best.value < np.median(by_chance.min(axis=1))


def test_a_study_interrupted_in_every_third_trial_equals_the_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = study(tmp_path / "undisturbed")
    kills = 0
    while True:
        try:
            resumed = study(tmp_path / "resumed", dying(after=3))
            break
        except Killed:
            kills += 1
    assert kills == resumed.interruptions == 8
    assert resumed == undisturbed
    assert json.dumps(resumed.to_json()) == json.dumps(undisturbed.to_json())
    pd.testing.assert_frame_equal(resumed.table(), undisturbed.table())


def test_a_kill_at_any_byte_of_the_journal_changes_no_trial(tmp_path: Path) -> None:
    undisturbed = study(tmp_path, trials=14)
    journal = (tmp_path / "study.jsonl").read_bytes()
    cuts = np.random.default_rng(3).integers(0, len(journal), 12)
    for cut in sorted(map(int, cuts)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "study.jsonl").write_bytes(journal[:cut])
        assert study(folder, trials=14) == undisturbed, cut


def test_more_trials_continue_the_same_study(tmp_path: Path) -> None:
    short, longer = study(tmp_path / "a", trials=12), study(tmp_path / "a", trials=20)
    assert longer.trials[:12] == short.trials
    assert longer == study(tmp_path / "b", trials=20)
    again = study(tmp_path / "a", trials=12)
    assert again == short


def test_another_seed_tries_other_parameters(tmp_path: Path) -> None:
    assert study(tmp_path / "a", trials=3).trials != study(tmp_path / "b", trials=3, seed=2).trials


def test_a_hopeless_trial_is_pruned_at_the_step_where_it_passes_the_median(tmp_path: Path) -> None:
    found = study(tmp_path, trials=40)
    at_step: dict[int, list[float]] = {0: [], 1: [], 2: []}
    pruned = 0
    for trial in found.trials:
        hopeless = [
            step
            for step, value in trial.reported.items()
            if len(at_step[step]) >= TRIALS_BEFORE_PRUNING and value > np.median(at_step[step])
        ]
        assert (trial.state == "pruned") == bool(hopeless)
        if hopeless:
            assert list(trial.reported) == list(range(hopeless[0] + 1))
            assert "above the median" in trial.reason
            assert trial.value == trial.reported[hopeless[0]]
            pruned += 1
        for step, value in trial.reported.items():
            at_step[step].append(value)
    assert 5 <= pruned < 40


def test_a_failed_trial_is_recorded_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    def failing(parameters: dict[str, Any], report: Report) -> float:
        if parameters["shape"] is None:
            raise DataError("no layers")
        return float("nan") if parameters["n"] > 40 else bowl(parameters, report)

    found = study(tmp_path, failing, trials=30)
    failed = {trial.number: trial for trial in found.trials if trial.state == "failed"}
    expected = {t.number for t in found.trials if t.parameters["shape"] is None or t.parameters["n"] > 40}
    assert set(failed) == expected
    assert {trial.reason for trial in failed.values()} == {"DataError: no layers", "the objective is nan"}
    assert len(found.trials) == 30
    table = found.table()
    assert table.loc[table["state"] == "failed", "value"].isna().all()


def test_a_study_without_a_complete_trial_says_why(tmp_path: Path) -> None:
    def failing(parameters: dict[str, Any], report: Report) -> float:
        raise DataError("every label is 0")

    with pytest.raises(DataError, match=r"none of the 2 trials .* every label is 0"):
        study(tmp_path, failing, trials=2)


def test_a_mistake_in_the_program_is_no_failed_trial(tmp_path: Path) -> None:
    def broken(parameters: dict[str, Any], report: Report) -> float:
        raise KeyError("depht")

    with pytest.raises(KeyError, match="depht"):
        study(tmp_path, broken)
    assert study(tmp_path, trials=5) == study(tmp_path / "never_broken", trials=5)


def test_the_clock_ends_a_study_that_can_be_taken_up(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 10))
    timed = study(tmp_path / "timed", trials=12, seconds=35, clock=lambda: next(ticks))
    assert (len(timed.trials), timed.stopped_by) == (4, "seconds")
    late = study(tmp_path / "timed", trials=12, seconds=0.5, clock=iter(range(0, 1000, 10)).__next__)
    assert len(late.trials) == 5
    whole = study(tmp_path / "timed", trials=12)
    assert whole.stopped_by == "trials"
    assert whole == study(tmp_path / "untimed", trials=12)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"seed": 9}, "seed"), ({"space": SPACE[:1]}, "space"), ({"context": {"training": "b"}}, "context")],
)
def test_a_study_is_not_taken_up_with_another_premise(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    def objective(parameters: dict[str, Any], report: Report) -> float:
        return float(parameters["x"])

    options = {"context": {"training": "a"}}
    study(tmp_path, objective, trials=1, **options)
    with pytest.raises(ConfigError, match=f"begun with another {named};"):
        study(tmp_path, objective, trials=2, **(options | changed))


def test_two_studies_share_a_journal_and_do_not_mix(tmp_path: Path) -> None:
    first = study(tmp_path, trials=12, name="first")
    study(tmp_path, trials=12, name="second", seed=5)
    assert study(tmp_path, trials=12, name="first") == first


def test_the_table_keeps_types_and_what_a_parameter_was(tmp_path: Path) -> None:
    table = study(tmp_path, trials=RANDOM_TRIALS).table()
    assert list(table) == ["number", "state", "value", "steps", "reason", "x", "n", "shape"]
    assert [str(table[name].dtype) for name in ("number", "value", "x", "n")] == [
        "int64",
        "float64",
        "float64",
        "int64",
    ]
    assert set(table["shape"]) <= {"[128, 64]", "[32]", "null"}
    assert table["n"].between(1, 64).all()


def test_each_finished_trial_is_announced_once(tmp_path: Path) -> None:
    announced: list[int] = []
    study(tmp_path, trials=4, on_trial=lambda trial: announced.append(trial.number))
    study(tmp_path, trials=6, on_trial=lambda trial: announced.append(trial.number))
    assert announced == [0, 1, 2, 3, 4, 5]


def test_optuna_keeps_silent_and_gets_its_verbosity_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    study(tmp_path, trials=2)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "bool"},
        {"kind": "float", "low": 1.0},
        {"kind": "float", "low": 2.0, "high": 1.0},
        {"kind": "float", "low": 0.0, "high": 1.0, "log": True},
        {"kind": "int", "low": 0.5, "high": 2.0},
        {"kind": "int", "low": 1, "high": 2, "choices": (1, 2)},
        {"kind": "categorical"},
        {"kind": "categorical", "choices": ("a",), "low": 1.0},
    ],
)
def test_a_contradictory_parameter_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rate"):
        Parameter("rate", **wrong)


@pytest.mark.parametrize(
    "wrong", [{"trials": 0}, {"seconds": 5.0}, {"space": ()}, {"space": (SPACE[0], SPACE[0])}, {"seconds": 0.0}]
)
def test_an_unusable_budget_or_space_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        study(tmp_path, **wrong)


SCRIPT = """
import json, sys, time
from pathlib import Path
from butterquant_tests.learning.test_tuning import bowl, study

def slow(parameters, report):
    time.sleep(0.02)
    return bowl(parameters, report)

print(json.dumps(study(Path(sys.argv[1]), slow, trials=30).to_json()))
"""


@pytest.mark.slow
def test_a_study_killed_again_and_again_equals_the_undisturbed_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    journal = tmp_path / "killed" / "study.jsonl"
    kills = 0
    for _ in range(4):
        process = start(tmp_path / "killed")
        grown = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > grown):
            time.sleep(0.01)
        try:
            process.wait(timeout=float(rng.uniform(0.02, 0.25)))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 3
    out, _ = start(tmp_path / "killed").communicate(timeout=60)
    undisturbed = study(tmp_path / "undisturbed", trials=30)
    assert out.decode().strip() == json.dumps(undisturbed.to_json())


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.PIPE)
