"""Taking stock: what lies in the lake at this moment, as freshness wants to know it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from butterquant_assets.foundation.errors import DamagedFileError
from butterquant_assets.foundation.freshness import Held, Key, Node, Snapshot
from butterquant_assets.foundation.lake import Footer, Lake, Look
from butterquant_assets.foundation.warehouse_receipts import receipt_of


def take_stock(
    lake: Lake,
    nodes: Iterable[Node],
    source: Mapping[str, Mapping[str, str]],
    artifacts_root: Path,
    receipts: Mapping[str, Mapping[Key, str]] | None = None,
) -> Snapshot:
    """Footers of every published and quarantined file of `nodes`.

    Parameters
    ----------
    lake
        where to look
    nodes
        the assets
    source
        what the source holds now: dataset -> month or day -> fingerprint
    artifacts_root
        directory that artifact paths in footers are relative to
    receipts
        what the warehouse holds, by asset and key (`warehouse_receipts`); only assets that write there are looked up
    """
    snapshot, nodes = Snapshot(source={name: dict(held) for name, held in source.items()}), tuple(nodes)
    seen = lake.look(node.name for node in nodes)
    for node in nodes:
        apart: set[Key] = {None} if node.keys is None else {*seen.partitions(node.name, quarantine=True)}
        keys = apart if node.keys is None else {*seen.partitions(node.name), *apart}
        found = {key: _held(seen, node.name, key, artifacts_root, key in apart) for key in keys}
        snapshot.held[node.name] = _against(found, (receipts or {}).get(node.name, {})) if node.in_warehouse else found
    return snapshot


def _against(held: Mapping[Key, Held], receipts: Mapping[Key, str]) -> dict[Key, Held]:
    return {
        key: replace(one, in_warehouse=one.footer is not None and receipts.get(key) == receipt_of(one.footer))
        for key, one in held.items()
    }


def _held(lake: Lake | Look, asset: str, key: Key, artifacts_root: Path, look_apart: bool) -> Held:
    quarantine: Footer | None
    try:
        quarantine = lake.footer(asset, key, quarantine=True) if look_apart else None
    except DamagedFileError:
        quarantine = None  # an unreadable quarantined frame says nothing about its inputs; the attempt is repeated
    try:
        footer = lake.footer(asset, key)
    except DamagedFileError as error:
        return Held(None, quarantine, f"damaged: {error}")
    artifacts = footer.artifacts if footer else {}
    return Held(
        footer, quarantine, None, tuple(path for path, sha in artifacts.items() if _sha(artifacts_root / path) != sha)
    )


def _sha(path: Path) -> str:
    """SHA-256 of a file, empty where there is none. Artifacts are small: plots, a model of some 50 kB, its card."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
