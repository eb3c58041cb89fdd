"""How tokens look at each other: in onnxruntime's one operator, or in those of the standard alone.

`parts` are the weights, shape (d, d), and the biases, shape (d,), of query, key and value; what is returned has shape
(b, l, d).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from embeddings.encoders.onnx_graph import Graph
    from embeddings.encoders.products import Product

Matrix = NDArray[np.float32]
Parts = Sequence[tuple[Matrix, Matrix]]
OWN = "com.microsoft"
#: Added to the likeness of a token that is padding: its weight becomes 0.
UNSEEN = np.float32(1e4)


def fused(graph: "Graph", product: "Product", name: str, hidden: str, parts: Parts, lengths: str, heads: int) -> str:
    """One product for all three, and one operator for what follows."""
    weight = np.concatenate([weight for weight, _ in parts], axis=1)
    bias = graph.constant(f"{name}.bias", np.concatenate([bias for _, bias in parts]))
    split = graph.add("Split", [product.multiply(graph, name, hidden, weight)], outputs=3, axis=-1, num_outputs=3)
    return str(graph.add("MultiHeadAttention", [*split, bias, lengths], domain=OWN, num_heads=heads))


def standard(graph: "Graph", product: "Product", name: str, hidden: str, parts: Parts, unseen: str, heads: int) -> str:
    """By the book. Three products, because OpenVINO takes longer to split one (measured)."""
    dimension = len(parts[0][0])
    # The same scale in the weights costs nothing.
    root = np.float32(np.sqrt(dimension // heads))
    scaled = [(parts[0][0] / root, parts[0][1] / root), *parts[1:]]
    by_head = graph.constant("by_head", np.array([0, 0, heads, dimension // heads], np.int64))
    query, key, value = (
        _heads(graph, product, f"{name}.{kind}", hidden, part, by_head)
        for kind, part in zip(("query", "key", "value"), scaled, strict=True)
    )
    likeness = graph.add("MatMul", [query, graph.add("Transpose", [key], perm=[0, 1, 3, 2])])
    shares = graph.add("Softmax", [graph.add("Add", [likeness, unseen])], axis=-1)
    mixed = graph.add("Transpose", [graph.add("MatMul", [shares, value])], perm=[0, 2, 1, 3])
    return str(graph.add("Reshape", [mixed, graph.constant("by_token", np.array([0, 0, dimension], np.int64))]))


def unseen(graph: "Graph") -> str:
    """What `standard` adds to likenesses: 0 for a token, and much less for padding. Shape (b, 1, 1, l)."""
    missing = graph.add("Sub", ["mask", graph.constant("one", np.float32(1))])
    less = graph.add("Mul", [missing, graph.constant("unseen", UNSEEN)])
    return str(graph.add("Unsqueeze", [less, graph.constant("axis_1", np.array([1], np.int64))]))


def _heads(
    graph: "Graph", product: "Product", name: str, hidden: str, part: tuple[Matrix, Matrix], by_head: str
) -> str:
    weight, bias = part
    summed = graph.add("Add", [product.multiply(graph, name, hidden, weight), graph.constant(f"{name}.bias", bias)])
    return str(graph.add("Transpose", [graph.add("Reshape", [summed, by_head])], perm=[0, 2, 1, 3]))
