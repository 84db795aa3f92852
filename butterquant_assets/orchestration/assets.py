"""Dagster assets and checks, made from declarations.

Dagster reads the annotations of these functions, so they must not be postponed to strings.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from butterquant_assets.foundation.contracts import Contract, Outcome
from butterquant_assets.foundation.freshness import Key, State
from butterquant_assets.orchestration.declaration import LakeAsset, Limit
from butterquant_assets.orchestration.executors import backfill_policy_of, step_tags
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.metadata import definition_metadata, partition_metadata, run_metadata
from butterquant_assets.orchestration.partitions import mapping_of, partitions_of
from butterquant_assets.orchestration.rebuild import rebuild

IO_MANAGER_KEY = "lake_io"
OWNERS = ("team:research",)
LISTED = 20


class RebuildConfig(dg.Config):
    """What may be chosen for one run in the launchpad.

    Everything that changes a *result* is a setting, not a run option, because it is part of the result's provenance.
    """

    force: bool = False


def asset_key(name: str) -> dg.AssetKey:
    """Asset key of ``group/name``."""
    return dg.AssetKey(name.split("/"))


def build_assets(house: House) -> list[dg.AssetsDefinition]:
    """One Dagster asset (or multi-asset) per declaration."""
    return [_asset(house, declaration) for declaration in house.declarations]


def build_checks(house: House) -> list[dg.AssetChecksDefinition]:
    """Checks that report the stored verdicts, and whether everything is current, for every table."""
    return [_checks(house, d, contract) for d in house.declarations for contract in d.contracts]


def _asset(house: House, declaration: LakeAsset) -> dg.AssetsDefinition:
    first, last = house.partition_span()

    @dg.multi_asset(
        name=declaration.compute.__name__,
        outs={
            contract.table.split("/")[1]: dg.AssetOut.from_spec(
                _spec(house, declaration, contract), io_manager_key=IO_MANAGER_KEY, dagster_type=Any
            )
            for contract in declaration.contracts
        },
        deps=_deps(house, declaration),
        partitions_def=partitions_of(house.axes.unit, first, last) if declaration.axis else None,
        backfill_policy=backfill_policy_of(_most_per_run(house)) if declaration.axis else None,
        pool=declaration.pool,
        op_tags=step_tags(declaration.pool, partitioned=bool(declaration.axis)),
        description=inspect.cleandoc(declaration.compute.__doc__ or ""),
    )
    def execute(context: dg.AssetExecutionContext, config: RebuildConfig) -> Iterator[dg.Output[Any]]:
        keys: Sequence[Key] = context.partition_keys if declaration.axis else (None,)
        rebuilt = rebuild(house, declaration, keys, force=config.force)
        for contract in declaration.contracts:
            name = contract.table
            for key, done in rebuilt.outcomes[name].items():
                context.add_asset_metadata(
                    partition_metadata(key, done, house.settings.reports_url), asset_key(name), partition_key=key
                )
            yield dg.Output(rebuilt, name.split("/")[1], metadata=run_metadata(declaration, contract, rebuilt))

    return execute


def _most_per_run(house: House) -> int | None:
    settings = house.settings
    return settings.months_per_run if house.axes.unit == "month" else settings.days_per_run


def _deps(house: House, declaration: LakeAsset) -> list[dg.AssetDep]:
    """What the lineage shows; the windows themselves decide what is read."""
    deps = []
    for window in declaration.windows:
        if window.asset.startswith("source:"):
            continue
        partitioned = bool(house.declaration(window.asset).axis)
        mapping = mapping_of(window, reader_partitioned=bool(declaration.axis), read_partitioned=partitioned)
        deps.append(dg.AssetDep(asset_key(window.asset), partition_mapping=mapping))
    return deps


def _spec(house: House, declaration: LakeAsset, contract: Contract) -> dg.AssetSpec:
    location = house.lake.path(contract.table)
    if declaration.axis is not None:
        location = f"{location.removesuffix('.parquet')}/"  # a folder with a file for each partition
    return dg.AssetSpec(
        asset_key(contract.table),
        group_name=contract.table.split("/")[0],
        owners=list(OWNERS),
        kinds=set(declaration.kinds),
        description=_description(declaration, contract),
        metadata=definition_metadata(declaration, contract, location, house.axes.unit),
        code_version=next(node.code for node in house.nodes if node.name == contract.table),
        tags={"simulated": "yes"} if house.simulated else None,
    )


def _description(declaration: LakeAsset, contract: Contract) -> str:
    own = contract.schema.description
    return own or inspect.cleandoc(declaration.compute.__doc__ or "")


def _checks(house: House, declaration: LakeAsset, contract: Contract) -> dg.AssetChecksDefinition:
    """All checks of one table in one step: they read footers, which costs milliseconds."""
    name = contract.table
    rules = {**contract.check_names(), **declaration.faults}
    warns = dict(declaration.warns) if name == declaration.names[0] else {}
    limits = dict(declaration.limits) if name == declaration.names[0] else {}
    texts = (
        rules
        | warns
        | {check: limit.description for check, limit in limits.items()}
        | {"current": "nothing it was made from has changed since"}
    )
    specs = [dg.AssetCheckSpec(rule, asset=asset_key(name), description=text) for rule, text in texts.items()]

    @dg.multi_asset_check(specs=specs, name=f"{name.replace('/', '__')}_checks")
    def report() -> Iterator[dg.AssetCheckResult]:
        freshness = house.freshness()
        held = freshness.snapshot.held.get(name, {})
        states = {key: freshness.judge(name, key) for key in freshness.nodes[name].partitions()}
        footers = {
            key: entry.quarantine if states[key].state is State.QUARANTINED else entry.footer
            for key, entry in held.items()
            if key in states
        }
        verdicts = {key: footer.verdict.checks for key, footer in footers.items() if footer}
        for rule in rules:
            judged = {key: checks[rule] for key, checks in verdicts.items() if rule in checks}
            failed = {key: outcome for key, outcome in judged.items() if not outcome.passed}
            yield _verdict_result(name, rule, len(verdicts), failed)
        for warn in warns:
            warned = {key: footer.facts.get("warnings", {}) for key, footer in footers.items() if footer}
            yield _warn_result(name, warn, {key: texts[warn] for key, texts in warned.items() if warn in texts})
        facts = [footer.facts for footer in footers.values() if footer]
        for check, limit in limits.items():
            yield _limit_result(name, check, limit, facts)
        late = {key: "; ".join(j.reasons) for key, j in states.items() if j.state is not State.CURRENT}
        yield _warn_result(name, "current", late)

    return report


def _verdict_result(name: str, rule: str, judged: int, failed: dict[Key, Outcome]) -> dg.AssetCheckResult:
    listing = [
        f"- {key or name}: {outcome.failed_rows} rows, {'; '.join(outcome.examples)}"
        for key, outcome in sorted(failed.items(), key=str)
    ]
    return dg.AssetCheckResult(
        passed=not failed,
        asset_key=asset_key(name),
        check_name=rule,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"partitions judged": judged, "partitions quarantined": len(failed), **_listed(listing)},
    )


def _limit_result(name: str, check: str, limit: Limit, facts: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    part, whole = (sum(int(fact.get(key, 0)) for fact in facts) for key in (limit.part, limit.whole))
    share = part / whole if whole else 0.0
    return dg.AssetCheckResult(
        passed=share <= limit.most,
        asset_key=asset_key(name),
        check_name=check,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={limit.part: part, limit.whole: whole, "share": share, "most": limit.most},
    )


def _warn_result(name: str, check: str, said: dict[Key, str]) -> dg.AssetCheckResult:
    listing = [f"- {key or name}: {text}" for key, text in sorted(said.items(), key=str)]
    return dg.AssetCheckResult(
        passed=not said,
        asset_key=asset_key(name),
        check_name=check,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"partitions concerned": len(said), **_listed(listing)},
    )


def _listed(lines: list[str]) -> dict[str, dg.MetadataValue]:
    if not lines:
        return {}
    more = [f"- and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return {"which": dg.MetadataValue.md("\n".join(lines[:LISTED] + more))}
