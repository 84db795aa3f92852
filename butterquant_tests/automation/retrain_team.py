"""Both sensors over one toy home and one instance, and what may happen to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.retrain_runs import EVENT_TAG
from butterquant_assets.automation.retrain_sensor import build_retrain_sensor
from butterquant_assets.automation.retraining import RetrainConfig
from butterquant_assets.automation.retries import RetryPolicy
from butterquant_assets.automation.sensors import build_freshness_sensor
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.retrain_log import RetrainEvent, RetrainLog
from butterquant_assets.orchestration.declaration import LakeAsset, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_tests.automation import toys
from butterquant_tests.automation.desk import Desk

ASSETS = (toys.raw, toys.total, toys.model, toys.quick, toys.export, toys.decision)
POLICY = RetryPolicy(attempts=2, base_seconds=60.0)


@dataclass(frozen=True)
class Measured:
    name: str = "feature_drift"
    month: str = "2018-06"
    fired: bool = True
    figures: Mapping[str, float] = field(default_factory=lambda: {"columns": 3.0})
    text: str = "3 of 23 columns drifted"


class Team:
    """Both sensors over one home and one instance, and what they are told."""

    def __init__(self, home: Path, assets: Sequence[LakeAsset] = ASSETS) -> None:
        self.source = toys.ToySource()
        self.house = toys.toy_house(home, self.source, assets)
        self.instance = dg.DagsterInstance.ephemeral()
        self.conditions: list[Measured] = []
        self.feedback = 0
        self.taken: list[datetime] = []
        self.fresh = Desk(self.house, self.instance, build=self._freshness)
        self.retrain = self.new_daemon()

    def _freshness(self, house: House, desk: Desk) -> dg.SensorDefinition:
        return build_freshness_sensor(house, hold_training=True, clock=lambda: desk.now)

    def new_daemon(self, cursor: str | None = None) -> Desk:
        """A desk of the retrain sensor; it begins three days ago, since the times of runs are real."""
        now = (datetime.now(UTC) - timedelta(days=3)).timestamp()
        return Desk(self.house, self.instance, build=self._retraining, now=now, cursor=cursor)

    def _retraining(self, house: House, desk: Desk) -> dg.SensorDefinition:
        return build_retrain_sensor(
            house,
            RetrainConfig(),
            signals=lambda house: list(self.conditions),
            take=self._take,
            updates={"toy/quick"},
            policy=POLICY,
            clock=lambda: datetime.fromtimestamp(desk.now, UTC).replace(tzinfo=None),
        )

    def _take(self, house: House, until: datetime) -> int:
        self.taken.append(until)
        return self.feedback

    def events(self) -> tuple[RetrainEvent, ...]:
        return RetrainLog(self.house.settings.warehouse_location).events()

    def values(self, asset: str) -> list[int]:
        return self.house.lake.read(f"toy/{asset}")["x"].tolist()

    def later(self, **amount: float) -> None:
        self.retrain.now += timedelta(**amount).total_seconds()


def begun(made: Team) -> Team:
    made.fresh.execute(made.fresh.tick()[0])
    assert made.retrain.tick() == []
    assert made.retrain.said == "nothing calls for a retrain"
    assert [reason.name for event in made.events() for reason in event.reasons] == ["first_look"]
    assert made.taken == []
    made.later(days=3)
    return made


BELOW_NINE = pa.DataFrameSchema({"session": pa.Column("datetime64[us]"), "x": pa.Column("int64", pa.Check.lt(9))})


@lake_asset(Contract("toy/total", BELOW_NINE, ("session",), None), reads=[Window("toy/raw")], code=[errors], axis=None)
def checked_total(work: Work) -> pd.DataFrame:
    """All rows, of which none may be 9, although it is delivered."""
    return work.read("toy/raw")


@lake_asset(toys.contract("toy/middle", None), reads=[Window("toy/total")], code=[errors], axis=None)
def middle(work: Work) -> pd.DataFrame:
    """All rows once more: whoever reads these is one step away from what is quarantined."""
    return work.read("toy/total")


@lake_asset(toys.contract("toy/model", None), reads=[Window("toy/middle")], code=[errors], axis=None, pool="training")
def far_model(work: Work) -> pd.DataFrame:
    """Learns all rows by heart."""
    return work.read("toy/middle")


@lake_asset(toys.contract("toy/quick", None), reads=[Window("toy/raw")], code=[errors], axis=None, pool="training")
def free_quick(work: Work) -> pd.DataFrame:
    """Learns the rows as delivered, whatever becomes of their sum."""
    return work.read("toy/raw")


def deliver(team: Team, value: int) -> None:
    """New data, brought up to date without a claim that all of it passes its checks."""
    team.source.values["2018-02"] = value
    (request,) = team.fresh.tick()
    team.fresh.execute(request)


def fail(team: Team, request: dg.RunRequest) -> None:
    """The run that was asked for fails at once, at the time of the sensor."""
    job = team.fresh.definitions().resolve_job_def(REFRESH)
    run = team.instance.create_run_for_job(job, tags=request.tags, asset_selection=set(request.asset_selection or ()))
    team.instance.report_run_failed(run, "the disk is full")
    team.retrain.now = max(team.retrain.now, datetime.now(UTC).timestamp())


def fail_to_the_end(team: Team, request: dg.RunRequest) -> None:
    """Every attempt at a retrain fails, until it is given up."""
    fail(team, request)
    for _ in range(POLICY.attempts - 1):
        (again,) = team.retrain.tick(after=3600)
        assert again.tags[EVENT_TAG] == request.tags[EVENT_TAG]
        fail(team, again)
    assert team.retrain.tick(after=3600) == []
    assert f"failed {POLICY.attempts} times" in team.retrain.said


def correct(team: Team, value: int) -> None:
    """New data: everything but what trains is brought up to date."""
    team.source.values["2018-02"] = value
    (request,) = team.fresh.tick()
    assert team.fresh.execute(request).success
