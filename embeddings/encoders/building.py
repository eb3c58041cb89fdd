"""Builds the default encoder from its weights, and measures what its 8 bits cost."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embeddings.encoders import minilm, onnx_graph, products, quality, weights
from embeddings.encoders.base import EncoderUnavailable
from embeddings.encoders.sessions import session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from embeddings.encoders.onnx_graph import Tensors
    from embeddings.encoders.products import Product


def build(found: weights.Weights, folder: Path) -> dict[str, Any]:
    """Write the graph, and compare it with the exact one. Returns what is noted of it.

    Raises EncoderUnavailable for damaged weights, and for a graph that is not good enough.
    """
    tensors = read_tensors(found)
    graph = _write(found, tensors, products.Int8())
    exact = _write(found, tensors, products.Float32())
    del tensors
    probe = onnx_graph.probe().SerializeToString()
    measured = measure(found, session(graph, probe), session(exact))
    overlap = measured["top_10_overlap"]
    if overlap < quality.LEAST_OVERLAP:
        raise EncoderUnavailable(
            f"in 8 bits the encoder finds {overlap:.3f} of the ten nearest that it finds in 32 bits; at least"
            f" {quality.LEAST_OVERLAP} is asked for. Other weights (EMBEDDING_WEIGHTS) or another encoder"
            " (EMBEDDING_ENCODER) may serve"
        )
    (folder / minilm.GRAPH).write_bytes(graph)
    (folder / minilm.PROBE).write_bytes(probe)
    return {
        "quality": measured,
        "recipe": minilm.RECIPE,
        "precision": minilm.PRECISION,
        "weights": found.digest,
        "architecture": asdict(found.architecture),
    }


def exact_graph(found: weights.Weights) -> bytes:
    """The same encoder in 32 bits. Raises EncoderUnavailable."""
    return _write(found, read_tensors(found), products.Float32())


def standard_graph(found: weights.Weights) -> bytes:
    """The same in 32 bits, in operators of the standard alone. Raises EncoderUnavailable."""
    return _write(found, read_tensors(found), products.Standard())


def measure(found: weights.Weights, small: "InferenceSession", exact: "InferenceSession") -> dict[str, Any]:
    """Compare two sessions over real prose.

    Returns top_10_overlap, the share of each passage's ten nearest that both find; cosine_p1, between the two vectors
    of a passage, of the hundredth that moved most; and passages.
    """
    passages = quality.sample()
    rows = [one.ids for one in minilm.read_tokenizer(found).encode_batch_fast(passages)]
    dimension = found.architecture.dimension
    theirs, ours = (minilm.run(each, rows, dimension) for each in (exact, small))
    cosines = np.einsum("nd,nd->n", theirs, ours)
    return {
        "top_10_overlap": round(quality.neighbour_overlap(theirs, ours), 4),
        "cosine_p1": round(float(np.percentile(cosines, 1)), 4),
        "passages": len(passages),
    }


def read_tensors(found: weights.Weights) -> "Tensors":
    """Float32 arrays by name. Raises EncoderUnavailable if the file is cut short or altered."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        read = load_file(found.tensors)
    except (SafetensorError, OSError, ValueError) as exc:
        raise EncoderUnavailable(f"{found.tensors} cannot be read: {exc}; {weights.INSTALL}") from None
    plain = {name.removeprefix("bert."): value for name, value in read.items()}
    return {name: value.astype(np.float32) for name, value in plain.items() if value.dtype.kind == "f"}


def _write(found: weights.Weights, tensors: "Tensors", product: "Product") -> bytes:
    try:
        return onnx_graph.write(tensors, found.architecture, product).SerializeToString()
    except KeyError as exc:
        raise EncoderUnavailable(f"{found.tensors} lacks {exc.args[0]}; {weights.INSTALL}") from None
    except ValueError as exc:
        raise EncoderUnavailable(f"{found.tensors} does not fit config.json: {exc}; {weights.INSTALL}") from None
