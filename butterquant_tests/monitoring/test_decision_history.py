"""A month's verdict on the decisions rests on the same months whether it is the newest one scanned or an older one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.decision_assets import DECISIONS, OUTCOMES
from butterquant_assets.butterfly.decisions import AI, CHAMPION
from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.freshness import Freshness, Node
from butterquant_assets.foundation.inventory import take_stock
from butterquant_assets.foundation.lake import Footer, Lake, content_hash
from butterquant_assets.monitoring import assets, schemas
from butterquant_assets.monitoring.decay import DecayRules
from butterquant_assets.orchestration.declaration import Work

MONTHS = month_range("2020-06", "2021-12")


def publish(lake: Lake, asset: str, month: str, frame: pd.DataFrame) -> None:
    lake.write(asset, month, frame, Footer(content_hash(frame), {}, "c", "f", Verdict({}), len(frame)))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two candidates a day, of which every second is taken, and both lose."""
    made, random = Lake(tmp_path / "lake"), np.random.default_rng(0)
    for month in MONTHS:
        days = pd.bdate_range(month, periods=15).astype("datetime64[us]")
        rows = pd.DataFrame({"session": np.repeat(days, 2), "ticker": ["A", "B"] * len(days)})
        decided = rows.assign(route=CHAMPION, track=AI, expected_roi=0.1, selected=rows["ticker"] == "A")
        closed = rows.assign(
            evaluation_session=rows["session"] + pd.Timedelta(days=20),
            roi_mark=0.0,
            roi_net=-0.2 + random.normal(0.0, 0.3, len(rows)),
            label_mark=0.0,
            missing_reason="",
        )
        for asset, frame in ((DECISIONS, decided), (OUTCOMES, closed)):
            publish(made, asset, month, frame)
    return made


def verdicts(lake: Lake, first: str, last: str, *months: str, home: Path) -> pd.DataFrame:
    """The asset's rows of some months while these are scanned."""
    scanned = tuple(month_range(first, last))
    declaration = assets.decision_decay.resolved(SimpleNamespace(monitoring=SimpleNamespace(decay=DecayRules())))
    nodes = [Node(name, scanned, (), "c", "f") for name in (DECISIONS, OUTCOMES)]
    freshness = Freshness(nodes, take_stock(lake, nodes, {}, home))
    house = cast(Any, SimpleNamespace(lake=lake))
    made = declaration.compute(Work(months, None, DecayRules(), house, freshness, declaration))
    assert isinstance(made, pd.DataFrame)
    assert schemas.DECISION_DECAY.validate(made).reasons() == []
    return made


@pytest.fixture(autouse=True)
def _in_service(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = pd.DataFrame({"session": pd.to_datetime(["2020-01-31"])})
    monkeypatch.setattr(assets._InService, "of", lambda _: SimpleNamespace(learnt=lambda _: learnt))


def test_a_month_keeps_its_verdict_while_the_scan_moves_on(lake: Lake, tmp_path: Path) -> None:
    newest = verdicts(lake, "2020-06", "2021-05", "2021-05", home=tmp_path)
    assert newest["alarm"].all()
    assert (newest["trailing_months"] == 12).all()
    later = verdicts(lake, "2021-01", "2021-12", *month_range("2021-01", "2021-12"), home=tmp_path)
    pd.testing.assert_frame_equal(later[later["month"] == "2021-05-01"].reset_index(drop=True), newest)
    assert later["judged"].all()
    alone = verdicts(lake, "2021-01", "2021-12", "2021-05", home=tmp_path)
    pd.testing.assert_frame_equal(alone, newest)


def test_without_the_months_before_the_scan_a_verdict_says_how_few_it_has(lake: Lake, tmp_path: Path) -> None:
    for month in month_range("2020-06", "2021-02"):
        (tmp_path / "lake" / DECISIONS / f"{month}.parquet").unlink()
    table = verdicts(lake, "2021-03", "2021-12", "2021-03", "2021-12", home=tmp_path)
    assert set(table.loc[table["month"] == "2021-03-01", "reason"]) == {
        "not judged: 15 known decisions of 1 months, 30 of 6 are needed",
        "not judged: 30 known decisions of 1 months, 30 of 6 are needed",
    }
    assert table.loc[table["month"] == "2021-12-01", "judged"].all()


def test_a_file_that_an_earlier_version_wrote_without_a_column_is_left_out(lake: Lake, tmp_path: Path) -> None:
    old = lake.read(DECISIONS, ["2020-12"]).drop(columns="selected")
    publish(lake, DECISIONS, "2020-12", old)
    table = verdicts(lake, "2021-01", "2021-12", "2021-05", home=tmp_path)
    assert (table["trailing_months"] == 11).all()
