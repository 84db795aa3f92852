"""The models of a stored version of the success model, whether a full training or a weekly update of one.

It reads the model store it is given. What belongs here: which files make which model. What does not: deciding with
them (`replay`), and which version is in service (the registry).
"""

from __future__ import annotations

from collections.abc import Sequence

from butterquant_assets.butterfly import replay, success
from butterquant_assets.butterfly.update_version import Parent
from butterquant_assets.foundation.model_store import ModelStore


def stored_models(store: ModelStore, version: str) -> Sequence[replay.TimedModel]:
    """Models of a version in time order: its vintages, or for an update those of its parent, then its weeks.

    Raises
    ------
    ModelStoreError
        if a file of the version, or of the full training it is an update of, is missing or altered.
    """
    training, files = store.load_weights(success.NAME, version).training, _files(store, version)
    if replay.parent_of(training) is None:
        return replay.timed_models(version, training, files)
    parent = full_training(store, version)
    return replay.updated_models(version, training, files, parent.models, parent.files)


def full_training(store: ModelStore, version: str) -> Parent:
    """The full training that a published version is, or that it is an update of.

    Raises
    ------
    ModelStoreError
        if the version is not published, or a file of the full training is missing or altered.
    """
    # The card says it too, and can be read when another file of an update was lost and has to be made again.
    above = replay.parent_of(store.load_card(success.NAME, version))
    root = version if above is None else above
    training, files = store.load_weights(success.NAME, root).training, _files(store, root)
    return Parent(root, training, files, replay.timed_models(root, training, files))


def _files(store: ModelStore, version: str) -> dict[str, bytes]:
    return {path: store.read_file(success.NAME, version, path) for path in store.files(success.NAME, version)}
