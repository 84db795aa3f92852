"""Small parts from which ONNX graphs of members are put together.

What belongs here: a builder that names things deterministically, and the subgraph of each kind of member. What does
not: how members are blended and calibrated (`learning.onnx_ensemble`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.learning.logistic import LogisticFit
from butterquant_assets.learning.onnx_export import INPUT, OPSET, finished, module_to_onnx
from butterquant_assets.learning.onnx_trees import tree_attributes

if TYPE_CHECKING:
    import torch

ML_OPSET = 3
IR_VERSION = 10
LOGITS = "logits"


class GraphBuilder:
    """Collects nodes and constants; every value gets the next number, so equal calls give equal graphs."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        import onnx

        output = f"v{len(self._nodes)}"
        self._nodes.append(
            onnx.helper.make_node(operator, list(inputs), [output], name=f"n{output}", domain=domain, **attributes)
        )
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float64) -> str:
        """Append a constant; returns its name."""
        import onnx

        name = f"c{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(np.asarray(values, dtype)), name))
        return name

    def cast(self, value: str, to: str) -> str:
        """Append a cast to ``double``, ``float`` or ``int64``."""
        import onnx

        return self.add("Cast", value, to=getattr(onnx.TensorProto, to.upper()))

    def inline(self, model: Any, inputs: Mapping[str, str]) -> str:
        """Append another model's graph with its inputs bound to existing values; returns the name of its output."""
        prefix = f"g{len(self._nodes)}_"
        renamed = dict(inputs)

        def local(name: str) -> str:
            return renamed.setdefault(name, prefix + name) if name else name

        foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx.ml"})
        if foreign or len(model.functions) or any(len(a.g.node) for n in model.graph.node for a in n.attribute):
            raise ModelStoreError(f"a graph with functions, subgraphs or operators of {foreign} cannot be merged")
        for tensor in model.graph.initializer:
            copy = type(tensor)()
            copy.CopyFrom(tensor)
            copy.name = local(tensor.name)
            self._constants.append(copy)
        for node in model.graph.node:
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = prefix + (node.name or str(len(self._nodes)))
            copy.input[:] = [local(name) for name in node.input]
            copy.output[:] = [local(name) for name in node.output]
            self._nodes.append(copy)
        return local(model.graph.output[0].name)

    def finish(self, value: str, n_features: int, output: str, width: int) -> bytes:
        """The graph as bytes: input ``features`` float32 [n, n_features], `value` as float32 `output` [n, width]."""
        import onnx
        from onnx import helper

        self._nodes.append(helper.make_node("Cast", [value], [output], name="output", to=onnx.TensorProto.FLOAT))
        shapes = (
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", columns])
            for name, columns in ((INPUT, n_features), (output, width))
        )
        features, result = shapes
        graph = helper.make_graph(self._nodes, "ensemble", [features], [result], self._constants)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            producer_name="butterquant-assets",
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        )
        return finished(model, {INPUT: n_features}, {output: width})


def network_outputs(graph: GraphBuilder, network: torch.nn.Module, n_features: int) -> str:
    """What the method ``residual`` of a network makes of the features, double [n, k]."""
    import torch

    class Residual(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.inner.residual(features)
            return result

    model = module_to_onnx(Residual(network).eval(), {INPUT: n_features}, LOGITS)
    return graph.cast(graph.inline(model, {INPUT: INPUT}), "double")


def tree_outputs(graph: GraphBuilder, kind: str, texts: tuple[bytes, ...], outputs: int) -> str | None:
    """The sum of all trees, double [n, outputs]; None where there is no tree."""
    attributes = tree_attributes(kind, texts, outputs)
    if attributes is None:
        return None
    return graph.cast(graph.add("TreeEnsembleRegressor", INPUT, domain="ai.onnx.ml", **attributes), "double")


def logistic_outputs(graph: GraphBuilder, fit: LogisticFit) -> str:
    """Margins of a logistic regression, double [n, k], computed in double."""
    features = graph.cast(INPUT, "double")
    observed = graph.add("Where", graph.add("IsNaN", features), graph.constant(fit.scaler.median), features)
    centred = graph.add("Sub", observed, graph.constant(fit.scaler.mean))
    standardised = graph.add("Div", centred, graph.constant(fit.scaler.scale))
    product = graph.add("MatMul", standardised, graph.constant(fit.coefficients))
    return graph.add("Add", product, graph.constant(fit.intercepts))


def repeated(graph: GraphBuilder, row: npt.ArrayLike) -> str:
    """One row for each row of the features, double [n, k]."""
    rows = graph.add("Slice", graph.add("Shape", INPUT), graph.constant([0], np.int64), graph.constant([1], np.int64))
    width = graph.constant([np.asarray(row).size], np.int64)
    return graph.add("Expand", graph.constant(row), graph.add("Concat", rows, width, axis=0))
