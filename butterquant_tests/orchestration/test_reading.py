from __future__ import annotations

from collections.abc import Callable

import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.orchestration.reading import RecordingSource


class Shifting:
    """A source of one value, which `disturb` may change in the middle of a read."""

    def __init__(self, disturb: Callable[[Shifting], None] = lambda source: None) -> None:
        self.value, self.reads, self.disturb = 1, 0, disturb

    def span(self) -> tuple[str, str]:
        return "2018-01", "2018-01"

    def fingerprints(self, dataset: str, months: list[str]) -> dict[str, str]:
        return dict.fromkeys(months, f"{dataset} {self.value}")

    def keys_held(self, dataset: str) -> list[str]:
        return ["2018-01"]

    def fetch(self, dataset: str, months: list[str]) -> int:
        self.reads += 1
        read = self.value
        self.disturb(self)
        return read

    def describe(self) -> dict[str, str]:
        return {}


def watched(source: Shifting) -> tuple[RecordingSource, dict[str, dict[str, str]]]:
    reading, seen = RecordingSource(source), {name: {"2018-01": f"{name} 1"} for name in ("bars", "rejects")}
    reading.watch(seen)
    return reading, seen


def test_what_arrived_after_the_decision_is_recorded_as_it_was_read() -> None:
    source = Shifting()
    reading, seen = watched(source)
    source.value = 2
    assert reading.fetch("bars", ["2018-01"]) == 2
    assert seen == {"bars": {"2018-01": "bars 2"}, "rejects": {"2018-01": "rejects 2"}}


def test_what_arrives_during_the_read_is_read_again_and_never_mixed() -> None:
    def once(source: Shifting) -> None:
        source.value = 2

    reading, seen = watched(Shifting(once))
    assert reading.fetch("bars", ["2018-01"]) == 2
    assert seen["bars"] == {"2018-01": "bars 2"}


def test_an_undisturbed_read_is_made_once() -> None:
    source = Shifting()
    reading, seen = watched(source)
    assert reading.fetch("bars", ["2018-01"]) == 1
    assert (source.reads, seen["bars"]) == (1, {"2018-01": "bars 1"})


def test_a_source_that_does_not_stand_still_is_refused() -> None:
    def always(source: Shifting) -> None:
        source.value += 1

    reading, _ = watched(Shifting(always))
    with pytest.raises(SourceError, match=r"changed while bars was read.*the next run takes it up"):
        reading.fetch("bars", ["2018-01"])


def test_two_reads_of_one_decision_must_see_the_same_source() -> None:
    source = Shifting()
    reading, _ = watched(source)
    reading.fetch("bars", ["2018-01"])
    source.value = 2
    with pytest.raises(SourceError, match="changed while vix was read"):
        reading.fetch("vix", ["2018-01"])


def test_a_month_that_was_not_watched_is_recorded_when_it_is_read() -> None:
    reading, seen = watched(Shifting())
    reading.fetch("bars", ["2018-01", "2018-02"])
    assert seen["bars"] == {"2018-01": "bars 1", "2018-02": "bars 1"}
