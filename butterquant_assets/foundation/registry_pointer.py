"""The pointer file that follows the registry: the serving process reads it, and never the warehouse.

How the two cannot disagree silently: a decision is committed to the warehouse first, and the pointer is then written,
under a lock, from what the warehouse says at that moment. A process killed in between leaves a pointer that differs
from the warehouse; the registry's next call of `champion`, `promote`, `rollback` or `reconcile` finds and mends it.
Until then the former champion serves, which was published and verified like any other.

An edge: it does I/O and knows no Dagster. What does not belong here: which version serves (`registry`), and the file
itself (`model_store`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.files import locked
from butterquant_assets.foundation.model_store import ONNX
from butterquant_assets.foundation.registry_records import Mended, RegisteredModel

log = logging.getLogger(__name__)

SHORT = 12


class Store(Protocol):
    """What the registry needs of a `ModelStore`."""

    root: Path

    def verify(self, name: str, version: str) -> dict[str, Any]:
        """The card of a published version after checking every file."""

    def champion(self, name: str) -> str | None:
        """The version the pointer file names."""

    def set_champion(self, name: str, version: str) -> Any:
        """Write the pointer file atomically."""


class ChampionPointer:
    """The pointer files of a model store.

    Parameters
    ----------
    store
        where they lie, beside the models
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def version(self, name: str) -> str | None:
        """The version the file of a model names; None where there is no file, or none that can be used."""
        try:
            return self._store.champion(name)
        except ModelStoreError as error:
            log.warning("the pointer file of %s cannot be used: %s", name, error)
            return None

    def follow(self, name: str, champion_of: Callable[[str], str | None]) -> Mended | None:
        """Make the file say what the warehouse says; None where it did.

        Parameters
        ----------
        name
            of the model
        champion_of
            the version in service by the name of its model, as the warehouse has it now; asked again under the lock

        Raises
        ------
        ModelStoreError
            if the champion's files were lost or altered; the file is then left alone.
        """
        if self.version(name) == champion_of(name):
            return None
        # Two processes must not write what each read at different times, the older last.
        with locked(self._store.root / f".{name}.champion.lock"):
            pointer, champion = self.version(name), champion_of(name)
            if pointer == champion:
                return None
            if champion is not None:
                self._store.set_champion(name, champion)
        mended = Mended(name, pointer, champion)
        log.warning(mended.sentence()) if champion is None else log.info(mended.sentence())
        return mended


def check_servable(store: Store, model: RegisteredModel) -> None:
    """Refuse a version whose files are not the ones that were registered.

    Raises
    ------
    ModelStoreError
        if it is not published, or a file was lost or altered.
    """
    card = store.verify(model.model, model.version)
    if card["files"].get(ONNX) != model.onnx_sha256:
        raise ModelStoreError(
            f"{model.model} {model.version} is not the one that was registered: its {ONNX} has SHA-256 "
            f"{str(card['files'].get(ONNX))[:SHORT]}..., registered was {model.onnx_sha256[:SHORT]}...; rebuild it"
        )
