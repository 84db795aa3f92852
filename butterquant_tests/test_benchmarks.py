from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from benchmarks.harness import Result, compare, median_seconds, table, write_json
from benchmarks.run import discover, main, run

FIELDS = ["name", "ours", "reference", "ratio", "unit", "target", "met"]
MODULE = """
from benchmarks.harness import compare
def benchmarks():
    return [compare({name!r}, {ours}, 10.0, "rows/s", target=2.0, better="higher")]
"""


class Clock:
    """A clock that only the measured calls move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write_module(folder: Path, topic: str, ours: float, name: str | None = None) -> None:
    (folder / f"bench_{topic}.py").write_text(MODULE.format(name=name or topic, ours=ours))


def test_a_rate_is_better_when_higher_and_a_time_when_lower() -> None:
    assert compare("a", 30.0, 10.0, "rows/s", target=2.0, better="higher") == Result(
        "a", 30.0, 10.0, 3.0, "rows/s", 2.0, True
    )
    assert compare("b", 30.0, 10.0, "s", target=0.5, better="lower").ratio == pytest.approx(1 / 3)
    assert not compare("b", 30.0, 10.0, "s", target=0.5, better="lower").met


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_value_that_cannot_be_measured_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="both must be positive"):
        compare("a", value, 1.0, "s", target=1.0, better="lower")


def test_the_median_ignores_the_warm_up_and_one_slow_call() -> None:
    clock = Clock()
    durations = itertools.chain([100.0, 3.0, 50.0, 1.0, 2.0, 3.0], itertools.repeat(1e9))

    def call() -> None:
        clock.now += next(durations)

    assert median_seconds(call, repeats=5, warm_up=1, minimum_seconds=0.0, clock=clock) == 3.0


def test_short_calls_are_repeated_until_the_clock_can_tell() -> None:
    clock = Clock()
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        clock.now += 0.001

    seconds = median_seconds(call, repeats=2, warm_up=0, minimum_seconds=0.0095, clock=clock)
    assert seconds == pytest.approx(0.001)
    assert calls == 20


def test_the_report_is_a_list_of_flat_objects(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    write_json([compare("a", 30.0, 10.0, "rows/s", target=2.0, better="higher")], path)
    (entry,) = json.loads(path.read_text())
    assert list(entry) == FIELDS
    assert entry["met"] is True
    assert [other.name for other in path.parent.iterdir()] == ["bench.json"]


def test_the_table_marks_what_misses_its_target() -> None:
    lines = table(
        [
            compare("short", 30.0, 10.0, "rows/s", target=2.0, better="higher"),
            compare("a_longer_name", 30.0, 10.0, "s", target=1.0, better="lower"),
        ]
    ).splitlines()
    assert [line.split()[-1] for line in lines] == ["met", "yes", "NO"]
    assert len({line.index(word) for line, word in zip(lines, ("ours", "30", "30"), strict=True)}) == 1


def test_all_modules_of_the_folder_run_in_order_and_only_selects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for topic, ours in (("b", 30.0), ("a", 40.0)):
        write_module(tmp_path, topic, ours)
    report = tmp_path / "bench.json"
    assert main([], tmp_path, report) == 0
    assert [entry["name"] for entry in json.loads(report.read_text())] == ["a", "b"]
    assert main(["--only", "_b"], tmp_path, report) == 0
    assert [entry["name"] for entry in json.loads(report.read_text())] == ["b"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("b ")


def test_a_missed_target_fails_only_where_that_is_asked_for(tmp_path: Path) -> None:
    write_module(tmp_path, "slow", 5.0)
    report = tmp_path / "bench.json"
    assert main([], tmp_path, report) == 0
    assert main(["--check"], tmp_path, report) == 1
    assert json.loads(report.read_text())[0]["met"] is False


def test_a_selection_that_matches_nothing_is_bad_usage(tmp_path: Path) -> None:
    assert main(["--only", "nothing"], tmp_path, tmp_path / "bench.json") == 2
    assert not (tmp_path / "bench.json").exists()


def test_two_benchmarks_of_one_name_are_refused(tmp_path: Path) -> None:
    for topic in ("a", "b"):
        write_module(tmp_path, topic, 30.0, name="same")
    with pytest.raises(ValueError, match="share a name: same"):
        run(discover(tmp_path))


def test_the_project_has_benchmarks_to_run() -> None:
    assert "bench_black_scholes" in [path.stem for path in discover()]
