"""From a freshness plan to a run: which assets, over which keys. Shared by the command line and the sensor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.freshness import NOT_IN_WAREHOUSE, Freshness, Plan
from butterquant_assets.foundation.lake import combine
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.pools import TRAINING_POOL

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
FINGERPRINT_TAG = "butterquant/fingerprint"
REASON_TAG = "butterquant/reason"
WITHOUT_KEYS_TAG = "butterquant/without-partitions"
"""On a run that concerns no month (day): Dagster wants a range all the same."""


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


def request_of(plan: Plan, house: House, freshness: Freshness | None = None) -> Request:
    """The one run that a plan asks for. The plan must have something to do.

    Parameters
    ----------
    plan
        what is stale
    house
        whose assets they are
    freshness
        what the plan was made from; by default how things stand now
    """
    concerned = set(plan.assets())
    assets = tuple(name for d in house.declarations if concerned & set(d.names) for name in d.names)
    start, end = plan.key_range() or (house.partition_span()[0],) * 2
    stale = [
        f"{name} {key} {judgement.reasons}" for name, keys in plan.stale.items() for key, judgement in keys.items()
    ]
    freshness = freshness or house.freshness()
    inputs = [str(sorted(freshness.inputs(name, key).items())) for name, keys in plan.stale.items() for key in keys]
    inputs += [
        f"{freshness.nodes[name].code}{freshness.nodes[name].config}" for name, keys in plan.stale.items() if keys
    ]
    count = sum(len(keys) for keys in plan.stale.values())
    first = next(j.reasons[0] for keys in plan.stale.values() for j in keys.values())
    whole = {} if plan.key_range() else {WITHOUT_KEYS_TAG: "yes"}
    tags = whole | {
        RANGE_START: start,
        RANGE_END: end,
        FINGERPRINT_TAG: combine([*stale, *inputs]),
        REASON_TAG: f"{count} stale partitions, first because: {first}"[:255],
    }
    return Request(assets, tags)


def trained_families(house: House) -> dict[str, frozenset[str]]:
    """What belongs to each trained asset, by its first name: its siblings, and assets that only make sense with it.

    Trained is what asks for the ``training`` pool. An asset that reads nothing but a trained one and what that one
    learns from (its export, its judgement) is made with it: a model of yesterday must not be paired with the training
    rows of today. One that reads anything else, such as a scan or a ledger of its own, has a life of its own.
    """
    families = {}
    for trained in house.declarations:
        if trained.pool != TRAINING_POOL:
            continue
        family, known = set(trained.names), {*trained.names, *(window.asset for window in trained.windows)}
        for declaration in house.declarations:
            read = {window.asset for window in declaration.windows}
            if declaration.pool != TRAINING_POOL and read & family and read <= known:
                family |= set(declaration.names)
                known |= set(declaration.names)
        families[trained.names[0]] = frozenset(family)
    return families


def waiting_for_retrain(plan: Plan, freshness: Freshness, house: House) -> frozenset[str]:
    """Trained assets, with their families, that are stale only because there is something newer to learn from.

    A family of which something is missing or damaged is made at once. One whose code or configuration changed waits
    like the others: a retrain has a recorded reason, and is not repeated at every edit. What is stale only because the
    warehouse does not hold it learns nothing new, and does not wait.
    """
    waiting: set[str] = set()
    for trained, family in trained_families(house).items():
        held = [freshness.snapshot.entry(name, key) for name in family for key in freshness.nodes[name].partitions()]
        lost = any(entry.footer is None or entry.damage or entry.missing_artifacts for entry in held)
        concerned = any(plan.affected.get(name) for name in house.declaration(trained).names)
        if concerned and not lost:
            waiting |= {name for name in family if not _only_unrecorded(plan, name)}
    return frozenset(waiting)


def _only_unrecorded(plan: Plan, name: str) -> bool:
    judged = plan.stale.get(name, {}).values()
    return bool(judged) and all(judgement.reasons == (NOT_IN_WAREHOUSE,) for judgement in judged)


def without(plan: Plan, names: Collection[str]) -> Plan:
    """The same plan with some assets left out of it."""
    return Plan(
        {name: keys for name, keys in plan.stale.items() if name not in names},
        {name: keys for name, keys in plan.affected.items() if name not in names},
        plan.problems,
    )


def refuse_mere_configuration(plan: Plan) -> None:
    """Refuse a plan whose only cause is that this process is configured otherwise than the one that built the home.

    Raises
    ------
    ConfigError
        if that is so: two differently configured processes would rebuild each other's results for ever.
    """
    causes = {reason for keys in plan.stale.values() for judgement in keys.values() for reason in judgement.reasons}
    if causes == {"configuration changed"}:
        raise ConfigError(
            "only the configuration of this process differs from the one the home was built with: set the same "
            "BUTTERQUANT_* variables, or rebuild with `butterquant run`"
        )
