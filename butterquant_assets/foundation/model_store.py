"""Trained models on disk, addressed by their content.

``models/<name>/<version>/`` holds ``weights.safetensors``, ``plots/*.png``, further files of the training,
``training.json``, ``model.onnx`` and, last of all, ``card.json``: a version is published when its card is there, and
the card lists the SHA-256 of every other file. ``models/<name>/champion.json`` names the version that serves. Nothing
here runs code when it loads: tensors are safetensors, everything else is JSON or bytes. The same inputs give the same
bytes, so two homes built from the same data are identical.

What belongs here: files, hashes, versions and the pointer to the champion. What does not: what a model computes, and
which version deserves to be champion.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy.typing as npt

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.files import sweep_temporaries, write_atomically
from butterquant_assets.foundation.model_content import (
    VERSION_LENGTH,
    Tensors,
    canonical_json,
    sha256,
    versions_in,
    weights_bytes,
)

WEIGHTS, TRAINING, ONNX, CARD, PLOTS = "weights.safetensors", "training.json", "model.onnx", "card.json", "plots"
CHAMPION = "champion.json"

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE = re.compile(r"(?:[a-z0-9][a-z0-9_-]*/)*[a-z0-9][a-z0-9_-]*\.(?:json|txt|parquet|safetensors|html|png)")
_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_LENGTH}}}")


@dataclass(frozen=True)
class StoredTraining:
    """What the training step left behind: tensors by name and the plain values recorded with them."""

    tensors: Tensors
    training: dict[str, Any]


@dataclass(frozen=True)
class StoredVersion:
    """One version's folder, published or not.

    Parameters
    ----------
    name, version
        which
    published
        whether its card is there
    bytes, modified
        size of its files, and the newest change of one of them (UTC)
    """

    name: str
    version: str
    published: bool
    bytes: int
    modified: datetime


class ModelStore:
    """Reads and writes model versions under one folder.

    Writing is idempotent: the same content again changes nothing, other content under a version that exists is
    refused. Each file appears by rename, so a killed process leaves the old state or the new one.

    Parameters
    ----------
    root
        the ``models`` folder; created when first written
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def directory(self, name: str, version: str) -> Path:
        """Folder of a version, whether it exists or not.

        Raises
        ------
        ModelStoreError
            if the name or the version could not be one of this store's.
        """
        if not _NAME.fullmatch(name):
            raise ModelStoreError(f"{name!r} is no model name; use lower-case letters, digits and _")
        if not _VERSION.fullmatch(version):
            raise ModelStoreError(f"{version!r} is no model version; expected {VERSION_LENGTH} hexadecimal digits")
        return self.root / name / version

    def versions(self, name: str) -> list[str]:
        """Published versions of a model, in the order of their names."""
        self.directory(name, "0" * VERSION_LENGTH)  # refuses what is no name
        return sorted(card.parent.name for card in (self.root / name).glob(f"*/{CARD}"))

    def stored(self) -> list[StoredVersion]:
        """Every version of every model that has a folder, by name and version."""
        folders = sorted(path for path in self.root.glob("*/*") if path.is_dir() and not path.is_symlink())
        return [
            _stored(folder)
            for folder in folders
            if _NAME.fullmatch(folder.parent.name) and _VERSION.fullmatch(folder.name)
        ]

    def mentions(self, name: str, version: str) -> set[str]:
        """Versions that the records of a version name, whatever for: the one it was updated from, for instance."""
        folder = self.directory(name, version)
        records = [path for path in (folder / TRAINING, folder / CARD) if path.is_file()]
        return {found for path in records for found in versions_in(path.read_text("utf-8"))} - {version}

    def remove(self, name: str, version: str) -> None:
        """Remove a version for good. Its card goes first, so that half a removal leaves nothing that looks whole.

        Raises
        ------
        ModelStoreError
            if it is the one that serves.
        """
        if self.champion(name) == version:
            raise ModelStoreError(f"{name} {version} serves and cannot be removed: promote another version first")
        folder = self.directory(name, version)
        (folder / CARD).unlink(missing_ok=True)
        shutil.rmtree(folder)

    def is_published(self, name: str, version: str) -> bool:
        """Whether the version's card is there."""
        return (self.directory(name, version) / CARD).is_file()

    def write_weights(
        self,
        name: str,
        version: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        training: Mapping[str, Any],
        plots: Mapping[str, bytes],
        files: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Store what training produced; ``training.json`` comes last and lists the hashes of the others.

        Parameters
        ----------
        name, version
            model name and `content_version`
        tensors
            native weights by name
        training
            plain values: architecture, history, seed, split
        plots
            PNG bytes by plot name (lower-case letters, digits and _)
        files
            further contents by path within the version, such as ``members/xgboost/trees_0.json``: lower-case letters,
            digits, _ and -, ending in json, txt, parquet, safetensors, html or png

        Returns
        -------
        Path
            the version's folder

        Raises
        ------
        ModelStoreError
            if the version exists with other content, a value is not plain, or a path is not usable or taken.
        """
        folder = self.directory(name, version)
        for plot in plots:
            if not _NAME.fullmatch(plot):
                raise ModelStoreError(f"{plot!r} is no plot name; use lower-case letters, digits and _")
        contents = {WEIGHTS: weights_bytes(tensors)}
        contents |= {f"{PLOTS}/{plot}.png": plots[plot] for plot in sorted(plots)}
        further = files or {}
        _check_paths(further, taken={*contents, TRAINING, ONNX, CARD})
        contents |= {path: further[path] for path in sorted(further)}
        hashes = {path: sha256(content) for path, content in contents.items()}
        contents[TRAINING] = canonical_json({"files": hashes, "training": dict(training)})
        self._write(folder, contents)
        return folder

    def publish(self, name: str, version: str, onnx_bytes: bytes, card: Mapping[str, Any]) -> Path:
        """Add the ONNX file and then the card, which makes the version visible.

        Parameters
        ----------
        name, version
            of a version whose weights were written before
        onnx_bytes
            the model
        card
            plain values; ``name``, ``version``, ``files`` (SHA-256 of every other file) and ``card_sha256`` (of the
            card without this entry) are added and must not be in it

        Returns
        -------
        Path
            of the card

        Raises
        ------
        ModelStoreError
            if the weights are missing or altered, or the version was published with other content.
        """
        folder = self.directory(name, version)
        reserved = sorted({"name", "version", "files", "card_sha256"} & set(card))
        if reserved:
            raise ModelStoreError(f"the card holds {', '.join(reserved)}, which the store writes itself; leave it out")
        hashes = self._recorded_hashes(folder, name, version)
        hashes |= {TRAINING: sha256((folder / TRAINING).read_bytes()), ONNX: sha256(onnx_bytes)}
        content = dict(card) | {"name": name, "version": version, "files": hashes}
        content["card_sha256"] = sha256(canonical_json(content))
        self._write(folder, {ONNX: onnx_bytes, CARD: canonical_json(content)})
        return folder / CARD

    def load_card(self, name: str, version: str) -> dict[str, Any]:
        """The card of a published version, itself checked against its own hash.

        Raises
        ------
        ModelStoreError
            if the version is not published or its card was altered.
        """
        path = self.directory(name, version) / CARD
        if not path.is_file():
            raise ModelStoreError(f"{name} {version} is not published: {path} is missing; build the model first")
        content = path.read_bytes()
        card = _parse(content, path)
        claimed = card.pop("card_sha256", None)
        if claimed != sha256(canonical_json(card)) or canonical_json(card | {"card_sha256": claimed}) != content:
            raise ModelStoreError(f"{path} was altered: it does not match its own hash; delete the version and rebuild")
        if (card.get("name"), card.get("version")) != (name, version):
            raise ModelStoreError(f"{path} belongs to {card.get('name')} {card.get('version')}; it was moved")
        return card | {"card_sha256": claimed}

    def verify(self, name: str, version: str) -> dict[str, Any]:
        """Check every file of a published version against its card; returns the card.

        Raises
        ------
        ModelStoreError
            naming the first file that is missing, altered or not on the card.
        """
        card, folder = self.load_card(name, version), self.directory(name, version)
        for path, expected in card["files"].items():
            _check_hash(folder / path, expected)
        strangers = sorted(set(_files(folder)) - set(card["files"]) - {CARD})
        if strangers:
            raise ModelStoreError(f"{folder / strangers[0]} is not on the card; remove it or rebuild the version")
        return card

    def load_weights(self, name: str, version: str) -> StoredTraining:
        """Native weights and training record, checked against their hashes; published or not.

        Raises
        ------
        ModelStoreError
            if a file is missing, altered or no safetensors file.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        folder = self.directory(name, version)
        self._recorded_hashes(folder, name, version)
        try:
            tensors = load((folder / WEIGHTS).read_bytes())
        except SafetensorError as error:
            raise ModelStoreError(f"{folder / WEIGHTS} is no safetensors file: {error}") from error
        return StoredTraining(tensors, _parse((folder / TRAINING).read_bytes(), folder / TRAINING)["training"])

    def files(self, name: str, version: str) -> list[str]:
        """Paths of the files that the training of a version recorded, in order; published or not."""
        return sorted(self._listed(self.directory(name, version), name, version))

    def read_file(self, name: str, version: str, path: str) -> bytes:
        """One file of the training of a version, checked against its hash; published or not.

        Raises
        ------
        ModelStoreError
            if the training recorded no such file, or it is missing or altered.
        """
        folder = self.directory(name, version)
        hashes = self._listed(folder, name, version)
        if path not in hashes:
            raise ModelStoreError(f"{name} {version} has no file {path!r}; there are {', '.join(sorted(hashes))}")
        _check_hash(folder / path, hashes[path])
        return (folder / path).read_bytes()

    def champion(self, name: str) -> str | None:
        """The version that serves, or None before the first promotion.

        Raises
        ------
        ModelStoreError
            if the pointer is no record of a version.
        """
        self.directory(name, "0" * VERSION_LENGTH)  # refuses what is no name
        pointer = self.root / name / CHAMPION
        try:
            content = pointer.read_bytes()
        except FileNotFoundError:
            return None
        version = _parse(content, pointer).get("version")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise ModelStoreError(f"{pointer} names {version!r}, which is no version; promote one again")
        return version

    def set_champion(self, name: str, version: str) -> Path:
        """Let a published version serve from now on; readers see the old pointer or the new one, never a half.

        Returns
        -------
        Path
            of the pointer

        Raises
        ------
        ModelStoreError
            if the version is not published or one of its files is missing or altered; the pointer then stays.
        """
        self.verify(name, version)
        pointer = self.root / name / CHAMPION
        sweep_temporaries(pointer.parent)
        write_atomically(pointer, canonical_json({"version": version}))
        return pointer

    def onnx_path(self, name: str, version: str) -> Path:
        """Path of the ONNX file of a published version, after checking it against the card.

        Raises
        ------
        ModelStoreError
            if the version is not published or the file was altered.
        """
        path = self.directory(name, version) / ONNX
        _check_hash(path, self.load_card(name, version)["files"][ONNX])
        return path

    def _recorded_hashes(self, folder: Path, name: str, version: str) -> dict[str, str]:
        """Hashes that the training record lists, each checked against its file."""
        hashes = self._listed(folder, name, version)
        for path, expected in hashes.items():
            _check_hash(folder / path, expected)
        return hashes

    def _listed(self, folder: Path, name: str, version: str) -> dict[str, str]:
        """Hashes that the training record lists."""
        record = folder / TRAINING
        if not record.is_file():
            raise ModelStoreError(f"{name} {version} has no weights: {record} is missing; train the model first")
        listing = _parse(record.read_bytes(), record)
        hashes = listing.get("files")
        if not isinstance(hashes, dict) or WEIGHTS not in hashes or "training" not in listing:
            raise ModelStoreError(f"{record} lists no {WEIGHTS} or no training; delete the version and rebuild it")
        return hashes

    def _write(self, folder: Path, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            target = folder / path
            if target.exists() and target.read_bytes() != content:
                raise ModelStoreError(
                    f"{target} exists with other content; a version is never overwritten. Include in the version "
                    "whatever made the difference, or delete the folder to rebuild it"
                )
        if folder.exists():
            sweep_temporaries(folder)
        for path, content in files.items():
            target = folder / path
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, content)


def _stored(folder: Path) -> StoredVersion:
    facts = [found for path in (folder, *folder.rglob("*")) if (found := _status(path)) is not None]
    newest = max(fact.st_mtime for fact in facts)
    size = sum(fact.st_size for fact in facts if stat.S_ISREG(fact.st_mode))
    return StoredVersion(
        folder.parent.name, folder.name, (folder / CARD).is_file(), size, datetime.fromtimestamp(newest, UTC)
    )


def _status(path: Path) -> os.stat_result | None:
    """None where a writer has just renamed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _files(folder: Path) -> list[str]:
    """Relative paths of the files of a version, without hidden temporaries of a writer."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _check_paths(files: Mapping[str, bytes], taken: set[str]) -> None:
    for path in files:
        if not _FILE.fullmatch(path):
            raise ModelStoreError(
                f"{path!r} is no path for a further file; use lower-case letters, digits, _ and -, and the ending "
                "json, txt, parquet, safetensors, html or png"
            )
        if path in taken or path.startswith(f"{PLOTS}/"):
            raise ModelStoreError(f"{path!r} is a name the store uses itself; choose another")


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelStoreError(f"{path} is missing; delete the version and rebuild it")
    found = sha256(path.read_bytes())
    if found != expected:
        raise ModelStoreError(
            f"{path} was altered: its SHA-256 is {found[:12]}..., recorded was {expected[:12]}...; delete the version "
            "and rebuild it"
        )


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ModelStoreError(f"{path} is no JSON: {error}; delete the version and rebuild it") from error
    if not isinstance(value, dict):
        raise ModelStoreError(f"{path} holds a {type(value).__name__}, expected a JSON object; rebuild the version")
    return value
