"""What a plan becomes: a run, and what waits for a retrain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from butterquant_assets.automation.requests import WITHOUT_KEYS_TAG, request_of, waiting_for_retrain
from butterquant_assets.foundation.freshness import NOT_IN_WAREHOUSE, plan
from butterquant_assets.orchestration.declaration import LakeAsset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import rebuild
from butterquant_tests.automation import toys

EXPORT = replace(toys.export, in_warehouse=True)
QUICK = replace(toys.quick, in_warehouse=True)
REST = (toys.raw, toys.total)
WAREHOUSE = "warehouse.sqlite"


def built(home: Path, source: toys.ToySource, *assets: LakeAsset) -> House:
    house = toys.toy_house(home, source, assets)
    for declaration in house.declarations:
        rebuild(house, declaration, house.keys(declaration.axis) if declaration.axis else (None,))
    return house


def waiting(house: House) -> set[str]:
    freshness = house.freshness()
    return set(waiting_for_retrain(plan(freshness), freshness, house))


def test_what_a_lost_warehouse_lacks_does_not_wait_for_a_retrain_and_what_is_newer_does(tmp_path: Path) -> None:
    source = toys.ToySource()
    built(tmp_path, source, *REST, toys.model, EXPORT, QUICK)
    (tmp_path / WAREHOUSE).unlink()
    newer = replace(toys.model, config=lambda settings: "newer")
    house = toys.toy_house(tmp_path, source, (*REST, newer, EXPORT, QUICK))
    freshness = house.freshness()
    assert freshness.judge("toy/export", None).reasons == (NOT_IN_WAREHOUSE,)
    assert waiting(house) == {"toy/model"}
    # With newer rows the judgement of a model would be of rows it never saw: all of it waits.
    source.values["2018-02"] = 5
    for declaration in house.declarations[:2]:
        rebuild(house, declaration, house.keys("market") if declaration.axis else (None,))
    assert waiting(house) == {"toy/model", "toy/export", "toy/quick"}


def test_a_run_without_months_says_so(tmp_path: Path) -> None:
    source = toys.ToySource()
    house = built(tmp_path, source, *REST, QUICK)
    (tmp_path / WAREHOUSE).unlink()
    request = request_of(plan(house.freshness()), house)
    assert request.assets == ("toy/quick",)
    assert WITHOUT_KEYS_TAG in request.tags
    source.values["2018-02"] = 5
    assert WITHOUT_KEYS_TAG not in request_of(plan(house.freshness()), house).tags
