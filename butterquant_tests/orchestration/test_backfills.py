from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.errors import ButterQuantError, ConfigError
from butterquant_assets.orchestration.backfills import keys_to_fill, request_backfill
from butterquant_assets.orchestration.executors import backfill_policy_of
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.partitions import monthly

AXES = {"market": ("2014-01", "2016-10"), "analysis": ("2016-03", "2016-08"), "scan": ("2016-07", "2016-08")}
DECLARED = (
    (("market/bars",), "market"),
    (("butterfly/samples",), None),
    (("butterfly/analyses", "butterfly/rejects"), "analysis"),
    (("butterfly/scan",), "scan"),
)
ALL = [name for names, _ in DECLARED for name in names]


def house() -> House:
    """A house as far as a backfill looks at it."""

    def keys(axis: str) -> list[str]:
        return month_range(*AXES[axis])

    declarations = [SimpleNamespace(names=names, axis=axis) for names, axis in DECLARED]
    return cast(
        "House",
        SimpleNamespace(declarations=declarations, keys=keys, axes=SimpleNamespace(unit="month", widest="market")),
    )


def fill(assets: list[str], start: str, end: str) -> dict[str, Any]:
    return dict(keys_to_fill(house(), assets, start, end, look_back=26, look_ahead=2))


def test_market_months_reach_further_than_the_analysis_months_and_no_further_than_there_are() -> None:
    assert fill(ALL, "2016-04", "2016-07") == {
        "market/bars": ("2014-02", "2016-09"),
        "butterfly/samples": None,
        "butterfly/analyses": ("2016-04", "2016-07"),
        "butterfly/rejects": ("2016-04", "2016-07"),
        "butterfly/scan": ("2016-07", "2016-07"),
    }
    assert fill(["market/bars"], "2016-03", "2016-12")["market/bars"] == ("2014-01", "2016-10")


def test_what_is_made_together_is_filled_together_and_nothing_else() -> None:
    assert fill(["butterfly/rejects"], "2016-03", "2016-03") == {
        "butterfly/analyses": ("2016-03", "2016-03"),
        "butterfly/rejects": ("2016-03", "2016-03"),
    }


def test_an_asset_without_a_month_in_the_range_is_left_out() -> None:
    assert "butterfly/scan" not in fill(ALL, "2016-03", "2016-05")


@pytest.mark.parametrize(
    ("assets", "start", "end"),
    [(ALL[2:], "2019-01", "2019-02"), (["butterfly/samples"], "2016-03", "2016-04"), ([], "2016-03", "2016-04")],
)
def test_nothing_to_fill_is_refused_with_the_months_there_are(assets: list[str], start: str, end: str) -> None:
    with pytest.raises(ConfigError, match=r"the home covers 2016-03 \.\. 2016-08"):
        fill(assets, start, end)


@pytest.mark.parametrize("month", ["2016", "2016-13", "March"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(ButterQuantError, match=month):
        fill(ALL, month, "2016-08")


def test_a_request_lies_in_the_instance_for_its_daemon_over_exactly_the_months_asked_for() -> None:
    months = monthly("2016-01", "2016-12")

    @dg.asset(key=["butterfly", "analyses"], partitions_def=months, backfill_policy=backfill_policy_of(3))
    def analyses() -> None: ...

    @dg.asset(key=["butterfly", "report"], deps=[analyses])
    def report() -> None: ...

    definitions = dg.Definitions(assets=[analyses, report])
    asked = {"butterfly/analyses": ("2016-03", "2016-08"), "butterfly/report": None}
    with dg.DagsterInstance.ephemeral() as instance:
        identity = request_backfill(instance, definitions, asked, datetime(2026, 11, 21, tzinfo=UTC))
        backfill = instance.get_backfill(identity)
    assert backfill is not None
    assert backfill.status.value == "REQUESTED"
    target = backfill.asset_backfill_data
    assert target is not None
    assert set(target.target_subset.asset_keys) == {analyses.key, report.key}
    subset = target.target_subset.partitions_subsets_by_asset_key[analyses.key]
    assert sorted(subset.get_partition_keys()) == list(month_range("2016-03", "2016-08"))
    assert backfill.backfill_timestamp == datetime(2026, 11, 21, tzinfo=UTC).timestamp()
