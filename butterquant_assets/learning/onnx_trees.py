"""Boosted trees as a node of an ONNX graph, answering as the libraries do at every threshold and missing value.

What belongs here: reading the libraries' text, and the attributes of TreeEnsembleRegressor (ai.onnx.ml 3). What does
not: the rest of the graph (`learning.onnx_ensemble`).

XGBoost goes left where x < threshold, both in float32. LightGBM goes left where x <= threshold, the threshold in
float64; since x is float32, rounding the threshold *down* to float32 decides every x alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ModelStoreError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CATEGORICAL, _DEFAULT_LEFT, _MISSING_TYPE = 1, 2, 12
_NO_MISSING, _MISSING_IS_NAN = 0, 8
_ZERO = float(np.float32(1e-35))  # LightGBM takes values no further from 0 than this for 0


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree: nodes in any order with the root at 0.

    Parameters
    ----------
    output
        column its leaves add to
    feature, threshold, left, right
        of each node; -1, 0, -1, -1 at a leaf; thresholds representable in float32
    missing_left
        whether a missing value goes left
    value
        of each leaf, 0 elsewhere
    """

    output: int
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    missing_left: npt.NDArray[np.bool_]
    value: Floats

    def attributes(self, number: int, mode: str) -> dict[str, list[Any]]:
        """The share this tree has in the attributes of a TreeEnsembleRegressor."""
        nodes, leaf = np.arange(self.feature.size), self.left < 0
        leaves = np.flatnonzero(leaf)
        return {
            "nodes_treeids": [number] * nodes.size,
            "nodes_nodeids": nodes.tolist(),
            "nodes_featureids": np.where(leaf, 0, self.feature).tolist(),
            "nodes_modes": ["LEAF" if end else mode for end in leaf],
            "nodes_values": self.threshold.tolist(),
            "nodes_truenodeids": np.where(leaf, 0, self.left).tolist(),
            "nodes_falsenodeids": np.where(leaf, 0, self.right).tolist(),
            "nodes_missing_value_tracks_true": (self.missing_left & ~leaf).astype(int).tolist(),
            "target_treeids": [number] * leaves.size,
            "target_nodeids": leaves.tolist(),
            "target_ids": [self.output] * leaves.size,
            "target_weights": self.value[leaves].tolist(),
        }


def tree_attributes(kind: str, texts: Sequence[bytes], outputs: int) -> dict[str, Any] | None:
    """Attributes of the TreeEnsembleRegressor that adds up all trees of the segments; None where there is no tree.

    Parameters
    ----------
    kind
        ``xgboost`` or ``lightgbm``
    texts
        as the libraries wrote them
    outputs
        columns of the output

    Returns
    -------
    dict or None
        raw margins: no base value, no transformation

    Raises
    ------
    ModelStoreError
        if a text cannot be read, or holds what is not supported (categorical splits).
    """
    read, mode = (read_xgboost, "BRANCH_LT") if kind == "xgboost" else (read_lightgbm, "BRANCH_LEQ")
    trees: list[Tree] = []
    for text in texts:
        try:
            trees += read(text)
        except (ValueError, KeyError, IndexError) as error:
            raise ModelStoreError(f"{len(text)} bytes are no {kind} model: {error!r}; rebuild the version") from error
    if not trees:
        return None
    merged: dict[str, Any] = {}
    for number, tree in enumerate(trees):
        for name, values in tree.attributes(number, mode).items():
            merged.setdefault(name, []).extend(values)
    return merged | {"n_targets": outputs, "aggregate_function": "SUM", "post_transform": "NONE"}


def read_xgboost(text: bytes) -> list[Tree]:
    """The trees of XGBoost's JSON."""
    model = json.loads(text)["learner"]["gradient_booster"]["model"]
    trees = []
    for tree, output in zip(model["trees"], model["tree_info"], strict=True):
        if any(tree["split_type"]):
            raise ModelStoreError("categorical splits are not supported; train on numbers")
        left = np.array(tree["left_children"], dtype=np.int64)
        leaf = left < 0
        conditions = np.array(tree["split_conditions"], dtype=np.float64).astype(np.float32).astype(np.float64)
        trees.append(
            Tree(
                output=output,
                feature=np.where(leaf, -1, np.array(tree["split_indices"], dtype=np.int64)),
                threshold=np.where(leaf, 0.0, conditions),
                left=left,
                right=np.array(tree["right_children"], dtype=np.int64),
                missing_left=np.array(tree["default_left"], dtype=np.bool_),
                value=np.where(leaf, conditions, 0.0),
            )
        )
    return trees


def read_lightgbm(text: bytes) -> list[Tree]:
    """The trees of LightGBM's text; none where it is empty."""
    if not text:
        return []
    head, *blocks = text.decode().split("\nTree=")
    per_iteration = int(_entries(head)["num_tree_per_iteration"])
    return [_lightgbm_tree(block.split("\nend of trees")[0], i % per_iteration) for i, block in enumerate(blocks)]


def _lightgbm_tree(block: str, output: int) -> Tree:
    entries = _entries(block)
    leaves = int(entries["num_leaves"])
    values = np.array(entries["leaf_value"].split(), dtype=np.float64)
    splits = leaves - 1
    if not splits:
        one = np.full(1, -1)
        return Tree(output, one, np.zeros(1), one, one, np.zeros(1, dtype=np.bool_), values)
    decisions = np.array(entries["decision_type"].split(), dtype=np.int64)
    if (decisions & _CATEGORICAL).any():
        raise ModelStoreError("categorical splits are not supported; train on numbers")
    missing = decisions & _MISSING_TYPE
    if not np.isin(missing, (_NO_MISSING, _MISSING_IS_NAN)).all():
        raise ModelStoreError("zeros as missing values are not supported; train with zero_as_missing=false")
    threshold = _rounded_down(_beside_zero(np.array(entries["threshold"].split(), dtype=np.float64)))
    # Where training saw nothing missing, LightGBM takes a missing value for 0.
    missing_left = np.where(missing == _MISSING_IS_NAN, (decisions & _DEFAULT_LEFT) > 0, threshold >= 0)
    # Leaf j is written as child -j - 1; it becomes node `splits` + j.
    left, right = (
        np.where(child < 0, splits - child - 1, child)
        for child in (np.array(entries[side].split(), dtype=np.int64) for side in ("left_child", "right_child"))
    )
    ends = np.full(leaves, -1)
    return Tree(
        output=output,
        feature=np.concatenate([np.array(entries["split_feature"].split(), dtype=np.int64), ends]),
        threshold=np.concatenate([threshold, np.zeros(leaves)]),
        left=np.concatenate([left, ends]),
        right=np.concatenate([right, ends]),
        missing_left=np.concatenate([missing_left, np.zeros(leaves, dtype=np.bool_)]),
        value=np.concatenate([np.zeros(splits), values]),
    )


def _entries(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _beside_zero(thresholds: Floats) -> Floats:
    """Thresholds that send all that LightGBM takes for 0 to the side of 0."""
    below = (thresholds < 0) & (thresholds >= -_ZERO)
    above = (thresholds >= 0) & (thresholds < _ZERO)
    return np.where(below, np.nextafter(-_ZERO, -np.inf), np.where(above, _ZERO, thresholds))


def _rounded_down(values: Floats) -> Floats:
    """The largest float32 at or below each value."""
    rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float64)
