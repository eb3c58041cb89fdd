"""Nothing but the encoder's matrix products, on onnxruntime: what this processor could do without all the rest."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from embeddings.encoders import onnx_graph, weights
from embeddings.encoders.attention import OWN
from embeddings.encoders.sessions import session

#: Tokens in a batch.
TOKENS = 512
#: Every text is between two tokens of the model's own.
MARKS = 2


@dataclass
class Bound:
    """A product whose factors and result lie ready: no memory is asked for while it is timed."""

    running: Any
    binding: Any
    operations: int


_bound: dict[str, list[Bound]] = {}


def prepare() -> dict[str, Any]:
    """Open the products of one layer. Returns the operations of all layers for one token.

    Raises EncoderUnavailable where the weights are not installed.
    """
    found = weights.find().architecture
    d, wide = found.dimension, found.intermediate
    shapes = [(d, 3 * d), (d, d), (d, wide), (wide, d)]
    for precision in ("int8", "fp32"):
        _bound[precision] = [_bind(precision, k, n) for k, n in shapes]
    return {"operations": found.layers * sum(2 * k * n for k, n in shapes), "marks": MARKS}


def rate(precision: str, seconds: float) -> float:
    """Billions of operations, additions counted as well, in a CPU second."""
    done = 0
    began, used = time.perf_counter(), time.process_time()
    while not done or time.perf_counter() - began < seconds:
        for one in _bound[precision]:
            one.running.run_with_iobinding(one.binding)
            done += one.operations
    return done / (time.process_time() - used) / 1e9


def _bind(precision: str, k: int, n: int) -> Bound:
    import onnxruntime

    random = np.random.default_rng(k + n)
    left: Any = random.random((TOKENS, k), np.float32)
    if precision == "int8":
        left = random.integers(0, 256, (TOKENS, k)).astype(np.uint8)
    running = session(_graph(precision, k, n), onnx_graph.probe().SerializeToString() if precision == "int8" else None)
    binding = running.io_binding()
    binding.bind_ortvalue_input("left", onnxruntime.OrtValue.ortvalue_from_numpy(left))
    product = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty((TOKENS, n), np.float32))
    binding.bind_ortvalue_output("product", product)
    running.run_with_iobinding(binding)
    return Bound(running, binding, 2 * TOKENS * k * n)


def _graph(precision: str, k: int, n: int) -> bytes:
    graph = onnx_graph.Graph()
    random = np.random.default_rng(n)
    if precision == "int8":
        kind = TensorProto.UINT8
        weight = graph.constant("weight", random.integers(-127, 128, (k, n)).astype(np.int8))
        scales = [graph.constant("one", np.float32(1)), graph.constant("scales", np.ones(n, np.float32))]
        inputs = ["left", weight, *scales, graph.constant("zero", np.uint8(128))]
        node = helper.make_node("MatMulIntegerToFloat", inputs, ["product"], domain=OWN)
    else:
        kind = TensorProto.FLOAT
        weight = graph.constant("weight", random.random((k, n), np.float32))
        node = helper.make_node("MatMul", ["left", weight], ["product"])
    given = helper.make_tensor_value_info("left", kind, [TOKENS, k])
    made = helper.make_tensor_value_info("product", TensorProto.FLOAT, [TOKENS, n])
    whole: onnx.ModelProto = onnx_graph.model_of(
        helper.make_graph([node], "product", [given], [made], list(graph.constants.values()))
    )
    return whole.SerializeToString()
