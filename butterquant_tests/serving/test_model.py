"""Models in memory: they answer as the bare session does, and files that are not what they claim never get there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.serving.model import load_model
from butterquant_tests.serving import stores
from butterquant_tests.serving.conftest import House


def constant_graph(output: list[float], *, width: int = 23, classes: int = 4, name: str = "probabilities") -> bytes:
    """An ONNX file that answers `output` for every row, and NaN for rows whose sum exceeds 1e30."""
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=1),
        helper.make_node("Greater", ["sum", "limit"], ["extreme"]),
        helper.make_node("Where", ["extreme", "nan", "answer"], [name]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", classes])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("limit", TensorProto.FLOAT, [1], [1e30]),
            helper.make_tensor("nan", TensorProto.FLOAT, [1], [float("nan")]),
            helper.make_tensor("answer", TensorProto.FLOAT, [1, len(output)], output),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def test_scores_are_those_of_the_bare_session_and_plain_arithmetic(master: House) -> None:
    rows = stores.rows(50, seed=4).astype(np.float32)
    found = load_model(master.store, stores.NAME, master.first).score(rows)
    session = onnxruntime.InferenceSession(master.store.onnx_path(stores.NAME, master.first))
    bare = session.run(None, {"features": rows})[0]
    np.testing.assert_array_equal(found.probabilities, bare.astype(np.float64))
    for i in range(50):
        document = 0.05 * float(bare[i, 1]) + 0.20 * float(bare[i, 2]) + 0.40 * float(bare[i, 3])
        training = sum(float(p) * v for p, v in zip(bare[i], stores.TRAINING_VALUES, strict=True))
        assert found.expected_roi[i] == pytest.approx([document, training], abs=1e-12)


def test_a_row_is_scored_alike_alone_and_in_a_batch(master: House) -> None:
    model = load_model(master.store, stores.NAME, master.first)
    rows = stores.rows(33, seed=5).astype(np.float32)
    together = model.score(rows).probabilities
    alone = np.concatenate([model.score(rows[i : i + 1]).probabilities for i in range(33)])
    assert alone == pytest.approx(together, abs=1e-6)


def test_an_intact_constant_model_is_served(house: House) -> None:
    version = stores.publish(house.store, 9, onnx=constant_graph([0.1, 0.2, 0.3, 0.4]))
    scores = load_model(house.store, stores.NAME, version).score(stores.rows(3).astype(np.float32))
    assert scores.probabilities == pytest.approx(np.tile([0.1, 0.2, 0.3, 0.4], (3, 1)), abs=1e-7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (constant_graph([0.1, 0.2, 0.3, 0.5]), "no probabilities"),
        (constant_graph([-0.1, 0.2, 0.4, 0.5]), "no probabilities"),
        (constant_graph([float("nan")] * 4), "the trial run of .* no finite probability"),
        (constant_graph([0.25] * 4, width=22), r"input \[\('features', 'tensor\(float\)', \[22\]\)\]"),
        (constant_graph([0.5] * 2, classes=2), "output .* its card promises"),
        (constant_graph([0.25] * 4, name="scores"), "'scores'"),
        (b"no model", "the ONNX file is not usable"),
        (b"", "the ONNX file is not usable"),
    ],
)
def test_a_graph_that_is_not_what_its_card_says_is_refused(house: House, content: bytes, message: str) -> None:
    version = stores.publish(house.store, 9, onnx=content)
    with pytest.raises(ModelStoreError, match=message):
        load_model(house.store, stores.NAME, version)


def alter(house: House, file: str) -> None:
    path = house.store.directory(stores.NAME, house.first) / file
    content = path.read_bytes()
    place = content.index(b"does not beat") if file == "card.json" else len(content) // 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("file", ["model.onnx", "card.json"])
def test_altered_files_are_refused(house: House, file: str) -> None:
    alter(house, file)
    with pytest.raises(ModelStoreError, match=f"{file} was altered"):
        load_model(house.store, stores.NAME, house.first)


def test_an_unpublished_version_is_refused(house: House) -> None:
    with pytest.raises(ModelStoreError, match="is not published"):
        load_model(house.store, stores.NAME, "0" * 16)


def test_a_file_that_changes_between_check_and_load_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = house.store.onnx_path

    def then_altered(name: str, version: str) -> Any:
        path = checked(name, version)
        alter(house, "model.onnx")
        return path

    monkeypatch.setattr(house.store, "onnx_path", then_altered)
    with pytest.raises(ModelStoreError, match="changed while it was read"):
        load_model(house.store, stores.NAME, house.first)


def test_a_row_that_overflows_the_graph_is_named_and_gets_no_number(house: House) -> None:
    version = stores.publish(house.store, 9, onnx=constant_graph([0.1, 0.2, 0.3, 0.4]))
    model = load_model(house.store, stores.NAME, version)
    rows = stores.rows(3).astype(np.float32)
    rows[1] = 3e38
    with pytest.raises(DataError, match="no finite probability for row 1"):
        model.score(rows)
