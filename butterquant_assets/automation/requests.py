"""From a freshness plan to a run: which assets, over which months. Shared by the command line and the sensor."""

from __future__ import annotations

from dataclasses import dataclass

from butterquant_assets.foundation.freshness import Plan
from butterquant_assets.foundation.lake import combine
from butterquant_assets.orchestration.house import House

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
FINGERPRINT_TAG = "butterquant/fingerprint"
REASON_TAG = "butterquant/reason"


@dataclass(frozen=True)
class Request:
    """One run for everything a plan concerns.

    Parameters
    ----------
    assets
        asset names ``group/name``; siblings that are made together are all included
    tags
        partition range, fingerprint of what is stale, and why
    """

    assets: tuple[str, ...]
    tags: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Same stale partitions for the same reasons and inputs, same fingerprint."""
        return self.tags[FINGERPRINT_TAG]


def request_of(plan: Plan, house: House) -> Request:
    """The one run that a plan asks for. The plan must have something to do."""
    concerned = set(plan.assets())
    assets = tuple(name for d in house.declarations if concerned & set(d.names) for name in d.names)
    months = plan.month_range() or (house.months("market")[0],) * 2
    stale = [
        f"{name} {key} {judgement.reasons}" for name, keys in plan.stale.items() for key, judgement in keys.items()
    ]
    freshness = house.freshness()
    inputs = [str(sorted(freshness.inputs(name, key).items())) for name, keys in plan.stale.items() for key in keys]
    inputs += [
        f"{freshness.nodes[name].code}{freshness.nodes[name].config}" for name, keys in plan.stale.items() if keys
    ]
    count = sum(len(keys) for keys in plan.stale.values())
    first = next(j.reasons[0] for keys in plan.stale.values() for j in keys.values())
    tags = {
        RANGE_START: months[0],
        RANGE_END: months[1],
        FINGERPRINT_TAG: combine([*stale, *inputs]),
        REASON_TAG: f"{count} stale partitions, first because: {first}"[:255],
    }
    return Request(assets, tags)
