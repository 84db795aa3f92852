"""What a model's files hold as bytes, and the version that follows from them: equal values, equal bytes. Pure.

What belongs here: formats and hashes. What does not: where files lie, and reading or writing them (`model_store`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ModelStoreError

VERSION_LENGTH = 16

Tensors = dict[str, npt.NDArray[Any]]

_MENTION = re.compile(rf"(?<![0-9A-Za-z])[0-9a-f]{{{VERSION_LENGTH}}}(?![0-9A-Za-z])")


def weights_bytes(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Tensors in safetensors format; equal tensors give equal bytes."""
    from safetensors.numpy import save

    content: bytes = save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})
    return content


def content_version(weights: bytes, facts: Mapping[str, Any]) -> str:
    """The version of a model: 16 hexadecimal digits of a SHA-256 over its weights and the facts about them.

    Parameters
    ----------
    weights
        as `weights_bytes` gives them
    facts
        plain values: architecture, features, content hash of the training data, configuration, code version. Whatever
        may change the ONNX file or the card must be in here, or a later publication will be refused as a conflict.

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    for part in (weights, canonical_json(facts)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:VERSION_LENGTH]


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, two spaces and a final newline: equal values give equal bytes.

    Raises
    ------
    ModelStoreError
        if a value is no plain JSON value, NaN and infinities included (write None and say why).
    """
    try:
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelStoreError(
            f"this cannot be stored as JSON: {error}; use plain strings, numbers, lists and dictionaries, and None for "
            "what is missing"
        ) from error
    return (text + "\n").encode()


def versions_in(text: str) -> set[str]:
    """Everything in a text that could be a version, vintages (``version@2018-03``) included."""
    return set(_MENTION.findall(text))


def files_under(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Contents of the files below a folder (no slash at its end), by their paths within it."""
    start = f"{folder}/"
    return {path.removeprefix(start): content for path, content in files.items() if path.startswith(start)}


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
