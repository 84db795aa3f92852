"""Taking stock: what lies in the lake at this moment, as freshness wants to know it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from butterquant_assets.foundation.errors import DamagedFileError
from butterquant_assets.foundation.freshness import Held, Key, Node, Snapshot
from butterquant_assets.foundation.lake import Footer, Lake, Look


def take_stock(
    lake: Lake, nodes: Iterable[Node], source: Mapping[str, Mapping[str, str]], artifacts_root: Path
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
    """
    snapshot, nodes = Snapshot(source={name: dict(held) for name, held in source.items()}), tuple(nodes)
    seen = lake.look(node.name for node in nodes)
    for node in nodes:
        apart: set[Key] = {None} if node.keys is None else {*seen.partitions(node.name, quarantine=True)}
        keys = apart if node.keys is None else {*seen.partitions(node.name), *apart}
        snapshot.held[node.name] = {key: _held(seen, node.name, key, artifacts_root, key in apart) for key in keys}
    return snapshot


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
