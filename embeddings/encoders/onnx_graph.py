"""Writes a BERT sentence encoder as an ONNX graph, straight from its tensors.

Lean: padding is told by lengths alone, query, key and value are one product, and mean pooling and length 1 are inside.
Inputs: ids int32 (b, l); lengths int32 (b,); mask float32 (b, 1, l), 1 where there is a token. Output: vectors float32
(b, dimension). Operators of com.microsoft are onnxruntime's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embeddings.encoders.products import Product
from embeddings.encoders.sessions import PROBE_LENGTH
from embeddings.encoders.weights import Architecture

Tensors = Mapping[str, NDArray[np.float32]]
OWN = "com.microsoft"


class Graph:
    """Nodes and constants in the order of their making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Keep a constant under its name, once."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def add(self, operator: str, inputs: Sequence[str], *, domain: str = "", outputs: int = 1, **settings: Any) -> Any:
        """Add a node. Returns its output's name, or with several outputs a list of them."""
        base = f"{operator}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=base, domain=domain, **settings))
        return names[0] if outputs == 1 else names

    def model(self, dimension: int) -> onnx.ModelProto:
        """What was added so far, as a model of one output, `vectors`."""
        inputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["b", "l"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["b"]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["b", 1, "l"]),
        ]
        output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", dimension])
        graph = helper.make_graph(self.nodes, "encoder", inputs, [output], list(self.constants.values()))
        return model_of(graph)


def write(tensors: Tensors, architecture: Architecture, product: Product) -> onnx.ModelProto:
    """Write the whole encoder. product: how matrices are multiplied, exactly or in 8 bits.

    Raises KeyError for a tensor that is not there.
    """
    graph = Graph()
    epsilon = architecture.epsilon
    hidden = _embed(graph, tensors, product, epsilon)
    padding = product.padding(graph)
    for layer in range(architecture.layers):
        hidden = _layer(graph, tensors, f"encoder.layer.{layer}.", hidden, padding, architecture, product)
    summed = graph.add("MatMul", ["mask", hidden])
    # The sum points where the mean does, and its length becomes 1.
    pooled = graph.add("Squeeze", [summed, graph.constant("axis_1", np.array([1], np.int64))])
    graph.nodes.append(helper.make_node("LpNormalization", [pooled], ["vectors"], axis=-1, p=2))
    return graph.model(architecture.dimension)


def probe() -> onnx.ModelProto:
    """A graph without inputs that multiplies the largest numbers as the 8-bit graph does; see `sessions`."""
    graph = Graph()
    left = graph.constant("left", np.full((16, PROBE_LENGTH), 255, np.uint8))
    weight = graph.constant("weight", np.full((PROBE_LENGTH, 16), 127, np.int8))
    one = graph.constant("one", np.float32(1))
    scales = graph.constant("scales", np.ones(16, np.float32))
    zero = graph.constant("zero", np.uint8(0))
    graph.nodes.append(
        helper.make_node("MatMulIntegerToFloat", [left, weight, one, scales, zero], ["sums"], domain=OWN)
    )
    output = helper.make_tensor_value_info("sums", TensorProto.FLOAT, [16, 16])
    return model_of(helper.make_graph(graph.nodes, "probe", [], [output], list(graph.constants.values())))


def model_of(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(OWN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="switchyard")


def _embed(graph: Graph, tensors: Tensors, product: Product, epsilon: float) -> str:
    words = product.rows(graph, "words", tensors["embeddings.word_embeddings.weight"], "ids")
    # Every token is of the first type, so that type's row is part of each position's.
    places = tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
    zero = graph.constant("axis_0", np.array([0], np.int64))
    longest = graph.add("Shape", ["ids"], start=1, end=2)
    positions = graph.add("Slice", [graph.constant("positions", places), zero, longest, zero])
    both = graph.add("Add", [words, positions])
    scale = graph.constant("embeddings.scale", tensors["embeddings.LayerNorm.weight"])
    shift = graph.constant("embeddings.shift", tensors["embeddings.LayerNorm.bias"])
    return str(graph.add("LayerNormalization", [both, scale, shift], axis=-1, epsilon=epsilon))


def _layer(
    graph: Graph, tensors: Tensors, at: str, hidden: str, padding: str, architecture: Architecture, product: Product
) -> str:
    kinds = [f"{at}attention.self.{kind}." for kind in ("query", "key", "value")]
    parts = [(tensors[f"{kind}weight"].T, tensors[f"{kind}bias"]) for kind in kinds]
    attended = product.attend(graph, f"{at}attention", hidden, parts, padding, architecture.heads)
    mixed = product.multiply(graph, f"{at}mix", attended, tensors[f"{at}attention.output.dense.weight"].T)
    mixed_bias = tensors[f"{at}attention.output.dense.bias"]
    hidden = _add_and_norm(graph, tensors, f"{at}attention.output.LayerNorm.", hidden, mixed, mixed_bias, architecture)

    wide = product.multiply(graph, f"{at}widen", hidden, tensors[f"{at}intermediate.dense.weight"].T)
    wide = product.gelu(graph, f"{at}widen", wide, tensors[f"{at}intermediate.dense.bias"])
    narrow, bias_left = product.multiply_after_gelu(
        graph, f"{at}narrow", wide, tensors[f"{at}output.dense.weight"].T, tensors[f"{at}output.dense.bias"]
    )
    return _add_and_norm(graph, tensors, f"{at}output.LayerNorm.", hidden, narrow, bias_left, architecture)


def _add_and_norm(
    graph: Graph,
    tensors: Tensors,
    at: str,
    hidden: str,
    change: str,
    bias: NDArray[np.float32],
    architecture: Architecture,
) -> str:
    # SkipLayerNormalization does the same in one node, and takes ten times as long in onnxruntime 1.31 (measured).
    summed = graph.add("Add", [graph.add("Add", [change, graph.constant(f"{at}change_bias", bias)]), hidden])
    scale, shift = (graph.constant(f"{at}{name}", tensors[f"{at}{name}"]) for name in ("weight", "bias"))
    inputs = [summed, scale, shift]
    return str(graph.add("LayerNormalization", inputs, axis=-1, epsilon=architecture.epsilon))
