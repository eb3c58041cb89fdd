"""How the encoder's matrices are multiplied: exactly, or in 8 bits."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from embeddings.encoders import attention
from embeddings.encoders.attention import OWN, Matrix

if TYPE_CHECKING:
    from embeddings.encoders.onnx_graph import Graph

#: The least value of gelu is -0.16997.
GELU_SHIFT = np.float32(0.17)


class Product(Protocol):
    """Adds nodes to a graph. Weights have shape (k, n); what is multiplied (b, l, k); the result (b, l, n)."""

    def rows(self, graph: "Graph", name: str, table: Matrix, ids: str) -> str:
        """Look up rows of a table."""
        ...

    def multiply(self, graph: "Graph", name: str, left: str, weight: Matrix) -> str: ...

    def padding(self, graph: "Graph") -> str:
        """What tells `attend` of it, once for all layers."""
        ...

    def attend(
        self, graph: "Graph", name: str, hidden: str, parts: attention.Parts, padding: str, heads: int
    ) -> str: ...

    def gelu(self, graph: "Graph", name: str, left: str, bias: Matrix) -> str: ...

    def multiply_after_gelu(
        self, graph: "Graph", name: str, left: str, weight: Matrix, bias: Matrix
    ) -> tuple[str, Matrix]:
        """Returns the product, and the bias that is still to be added to it."""
        ...


class Fused:
    """Attention as onnxruntime does it in one operator."""

    def padding(self, graph: "Graph") -> str:
        return "lengths"

    def attend(
        self: "Product", graph: "Graph", name: str, hidden: str, parts: attention.Parts, padding: str, heads: int
    ) -> str:
        return attention.fused(graph, self, name, hidden, parts, padding, heads)


class Float32(Fused):
    """Exact, to check the others by."""

    def rows(self, graph: "Graph", name: str, table: Matrix, ids: str) -> str:
        return str(graph.add("Gather", [graph.constant(name, table), ids]))

    def multiply(self, graph: "Graph", name: str, left: str, weight: Matrix) -> str:
        return str(graph.add("MatMul", [left, graph.constant(f"{name}.weight", weight)]))

    def gelu(self, graph: "Graph", name: str, left: str, bias: Matrix) -> str:
        return str(graph.add("BiasGelu", [left, graph.constant(f"{name}.bias", bias)], domain=OWN))

    def multiply_after_gelu(
        self, graph: "Graph", name: str, left: str, weight: Matrix, bias: Matrix
    ) -> tuple[str, Matrix]:
        return self.multiply(graph, name, left, weight), bias


class Standard(Float32):
    """Exact, in operators of the standard alone: what else reads the graph knows how to quantize and fuse those."""

    def padding(self, graph: "Graph") -> str:
        return attention.unseen(graph)

    def attend(self, graph: "Graph", name: str, hidden: str, parts: attention.Parts, padding: str, heads: int) -> str:
        return attention.standard(graph, self, name, hidden, parts, padding, heads)

    def gelu(self, graph: "Graph", name: str, left: str, bias: Matrix) -> str:
        return str(graph.add("Gelu", [graph.add("Add", [left, graph.constant(f"{name}.bias", bias)])]))


class Int8(Fused):
    """Weights with a scale per column, activations with a scale per token, sums in 32 bits.

    A scale per token costs a tenth more time than one for the whole batch, loses half as many neighbours, and makes a
    text's vector the same whatever else is in its batch.
    """

    def rows(self, graph: "Graph", name: str, table: Matrix, ids: str) -> str:
        kept, scales = quantize(table.T)
        rows = graph.add("Gather", [graph.constant(name, kept.T), ids])
        scale = graph.add("Gather", [graph.constant(f"{name}.scale", scales[:, None]), ids])
        return str(graph.add("Mul", [graph.add("Cast", [rows], to=TensorProto.FLOAT), scale]))

    def multiply(self, graph: "Graph", name: str, left: str, weight: Matrix) -> str:
        largest = self._largest(graph, graph.add("Abs", [left]))
        return self._multiply(graph, name, left, largest, zero=128, steps=127, weight=quantize(weight))

    def gelu(self, graph: "Graph", name: str, left: str, bias: Matrix) -> str:
        return str(graph.add("FastGelu", [left, graph.constant(f"{name}.bias", bias)], domain=OWN))

    def multiply_after_gelu(
        self, graph: "Graph", name: str, left: str, weight: Matrix, bias: Matrix
    ) -> tuple[str, Matrix]:
        """Shifted, gelu's values are positive and have all 8 bits; the bias takes the shift back."""
        kept, scales = quantize(weight)
        shifted = graph.add("Add", [left, graph.constant("gelu_shift", GELU_SHIFT)])
        largest = self._largest(graph, shifted)
        product = self._multiply(graph, name, shifted, largest, zero=0, steps=255, weight=(kept, scales))
        shift = GELU_SHIFT * scales * kept.sum(axis=0, dtype=np.float32)
        return product, (bias - shift).astype(np.float32)

    @staticmethod
    def _largest(graph: "Graph", values: str) -> str:
        return str(graph.add("ReduceMax", [values, graph.constant("last", np.array([-1], np.int64))], keepdims=1))

    @staticmethod
    def _multiply(
        graph: "Graph",
        name: str,
        left: str,
        largest: str,
        *,
        zero: int,
        steps: int,
        weight: tuple[NDArray[np.int8], Matrix],
    ) -> str:
        one = graph.constant("one", np.float32(1))
        zero_point = graph.constant(f"zero_{zero}", np.uint8(zero))
        scale = graph.add("Mul", [largest, graph.constant(f"step_{steps}", np.float32(1 / steps))])
        in_steps = graph.add("QuantizeLinear", [graph.add("Div", [left, scale]), one, zero_point])
        kept = [graph.constant(f"{name}.weight", weight[0]), one, graph.constant(f"{name}.scale", weight[1])]
        product = graph.add("MatMulIntegerToFloat", [in_steps, *kept, zero_point], domain=OWN)
        return str(graph.add("Mul", [product, scale]))


def quantize(weight: Matrix) -> tuple[NDArray[np.int8], Matrix]:
    """To whole numbers from -127 to 127, and a scale per column. weight: (k, n); returns (k, n) and (n,)."""
    scales = np.abs(weight).max(axis=0) / 127
    scales[scales == 0] = 1
    return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)
