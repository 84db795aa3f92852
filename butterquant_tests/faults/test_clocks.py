"""A clock that jumps, under the sensors."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from butterquant_assets.automation.sensors import FULL_LOOK_SECONDS, POLICY
from butterquant_assets.foundation import errors
from butterquant_tests.automation.desk import Desk
from butterquant_tests.automation.toys import ToySource, toy_house

YEAR = 365 * 86_400.0


@pytest.fixture
def source() -> ToySource:
    return ToySource()


@pytest.fixture
def desk(tmp_path: Path, source: ToySource) -> Desk:
    return Desk(toy_house(tmp_path, source), dg.DagsterInstance.ephemeral())


def test_a_clock_that_jumps_to_and_fro_neither_loses_nor_doubles_a_correction(desk: Desk, source: ToySource) -> None:
    assert desk.execute(desk.tick()[0]).success
    for value, jump in enumerate((YEAR, -2 * YEAR, -1.0, 10 * YEAR), start=2):
        assert desk.tick() == []  # the look after which the clock jumps
        source.values["2018-02"] = value
        (request,) = desk.tick(after=jump)
        assert desk.execute(request).success
        assert desk.house.lake.read("toy/total")["x"].tolist() == [1, value, 1]
        assert desk.tick(after=0.0) == []
        assert desk.said == "everything is current"


def test_a_clock_set_back_between_two_attempts_neither_stretches_nor_drops_the_wait(
    desk: Desk, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(dataset: str, months: list[str]) -> pd.DataFrame:
        raise errors.SourceError("the source does not answer")

    monkeypatch.setattr(source, "fetch", broken)
    assert not desk.execute(desk.tick()[0]).success
    assert desk.tick() == []
    assert "attempt 1 of" in desk.said
    assert desk.tick(after=-YEAR) == []  # at once would be a storm
    waited = 0.0
    while not (asked := desk.tick()):
        waited += FULL_LOOK_SECONDS
        assert waited <= POLICY.wait(1)
    assert len(asked) == 1


def test_a_clock_set_forward_between_two_attempts_costs_no_attempt_more_than_the_policy_allows(
    desk: Desk, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(dataset: str, months: list[str]) -> pd.DataFrame:
        raise errors.SourceError("the source does not answer")

    monkeypatch.setattr(source, "fetch", broken)
    made = 0
    for _ in range(4 * POLICY.attempts):
        for request in desk.tick(after=YEAR):
            made += 1
            assert not desk.execute(request).success
    assert made == POLICY.attempts
    assert "have not cured" in desk.said
