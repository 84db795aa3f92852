"""Metadata the UI shows: table schemas from contracts, column lineage, hashes, counts, plots."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from butterquant_assets.foundation.calendar import Unit
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Key, Window
from butterquant_assets.orchestration.declaration import LakeAsset
from butterquant_assets.orchestration.rebuild import KEPT, QUARANTINED, REBUILT, UNWANTED, WAITING, Done, Rebuilt
from butterquant_assets.orchestration.report_server import report_url

MAX_PLOT_BYTES = 60_000  # a data URI is stored in the event row, and read with every page that shows the asset
REASONS_SHOWN = 5


def table_schema(contract: Contract) -> dg.TableSchema:
    """The contract as Dagster's table schema: types, descriptions with units, constraints."""
    columns, types = [], contract.stored_types()
    for name, column in contract.schema.columns.items():
        unit = (column.metadata or {}).get("unit")
        description = " ".join(filter(None, [column.description, f"[{unit}]" if unit else ""]))
        constraints = dg.TableColumnConstraints(
            nullable=bool(column.nullable),
            unique=contract.keys == (name,),
            other=[str(check.error or check.name or check) for check in column.checks],
        )
        columns.append(dg.TableColumn(name, types[name], description=description, constraints=constraints))
    return dg.TableSchema(
        columns=columns,
        constraints=dg.TableConstraints(
            other=[f"unique by {', '.join(contract.keys)}", *(rule.description for rule in contract.rules)]
        ),
    )


def column_lineage(lineage: Mapping[str, Any]) -> dg.TableColumnLineage:
    """Output column -> the columns it is computed from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(asset.split("/")), source) for asset, source in sources]
            for column, sources in lineage.items()
        }
    )


def definition_metadata(declaration: LakeAsset, contract: Contract, location: str, unit: Unit) -> dict[str, Any]:
    """Metadata known before anything has run."""
    reads = [f"- {_window(window, declaration, unit)}" for window in declaration.windows]
    return {
        "dagster/column_schema": table_schema(contract),
        "dagster/uri": location,
        "keys": ", ".join(contract.keys),
        "reads": dg.MetadataValue.md("\n".join(reads) or "nothing"),
        "code": ", ".join(module.__name__ for module in declaration.code),
    }


def run_metadata(declaration: LakeAsset, contract: Contract, rebuilt: Rebuilt) -> dict[str, Any]:
    """Metadata of one run over all its partitions."""
    name = contract.table
    outcomes = rebuilt.outcomes[name]
    metadata: dict[str, Any] = {
        f"partitions {action}": rebuilt.count(name, action)
        for action in (REBUILT, KEPT, QUARANTINED, WAITING, UNWANTED)
        if rebuilt.count(name, action)
    }
    metadata["rows"] = sum(done.footer.rows for done in outcomes.values() if done.footer)
    metadata["rows recomputed"] = sum(done.rows_recomputed for done in outcomes.values())
    if None in outcomes and (footer := outcomes[None].footer):
        metadata["dagster/row_count"] = footer.rows
    if declaration.lineage and name == declaration.names[0]:
        metadata["dagster/column_lineage"] = column_lineage(declaration.lineage)
    if name == declaration.names[0]:
        metadata |= {plot: plot_metadata(plot, png) for plot, png in rebuilt.plots.items()}
    return metadata


def partition_metadata(key: Key, done: Done, reports_url: str) -> dict[str, Any]:
    """Metadata of one partition: what was done to it and why, its rows, hashes and facts, links to its reports."""
    metadata: dict[str, Any] = {"action": done.action}
    if done.reasons:
        metadata["reasons"] = "; ".join(done.reasons[:REASONS_SHOWN])
    if done.footer is not None:
        footer = done.footer
        metadata |= {"content": footer.content, "code version": footer.code, "configuration": footer.config}
        metadata["rows in partition" if key else "rows stored"] = footer.rows
        if key is not None:
            metadata["dagster/partition_row_count"] = footer.rows
        facts = {name: value for name, value in footer.facts.items() if value not in ({}, [], None)}
        metadata |= {f"fact: {name}": _shown(value, reports_url) for name, value in facts.items()}
    return metadata


def plot_metadata(name: str, png: bytes) -> dg.MetadataValue:
    """A plot as Markdown with the picture inside."""
    if len(png) > MAX_PLOT_BYTES:
        return dg.MetadataValue.text(f"plot {name} of {len(png):,} bytes is kept in the home directory only")
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")


def _shown(value: Any, reports_url: str) -> Any:
    if isinstance(value, str) and value.endswith(".html"):
        return dg.MetadataValue.url(report_url(reports_url, value))
    return dg.MetadataValue.json(value) if isinstance(value, dict | list) else value


def _window(window: Window, declaration: LakeAsset, unit: Unit) -> str:
    span = "" if window.first == window.last == 0 else f", {unit}s {window.first:+d} .. {window.last:+d}"
    by = {
        "content": "",
        "group": f", per {declaration.group}",
        "partition": f", own {unit}",
        "in_force": f", in force in its {unit}",
    }[window.by]
    return f"{window.asset}{span}{by}"
