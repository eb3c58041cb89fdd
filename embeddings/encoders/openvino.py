"""The same MiniLM in 8 bits on OpenVINO, an extra: quantized by NNCF over some passages, without torch."""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from embeddings.encoders import built, weights
from embeddings.encoders.base import EncoderUnavailable, Identity
from embeddings.encoders.minilm import MiniLM, read_tokenizer
from embeddings.vectors import Matrix

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SPEC = "minilm-openvino"
RECIPE = 2
GRAPH, NUMBERS = "model.xml", "model.bin"
INSTALL = "install it with: pip install --require-hashes -r requirements/openvino.txt"
#: One thread for a process of one core: pinned ones of several processes would share one core. In float32 where it is
#: not in 8 bits, because what a processor prefers differs, and vectors of several hosts lie in one index.
_SETTINGS = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenVinoMiniLM(MiniLM):
    """Reads texts and makes batches as MiniLM does; only what multiplies is another."""

    def __init__(self, found: weights.Weights, noted: dict[str, Any]) -> None:
        self._weights = found
        self.size = int(noted["bytes"][NUMBERS])
        self.identity = Identity(
            spec=SPEC,
            digest=digest_of(found),
            dimension=found.architecture.dimension,
            parameters={
                "precision": "int8",
                "max_tokens": found.architecture.max_tokens,
                "layers": found.architecture.layers,
                "recipe": RECIPE,
            },
            quality=dict(noted["quality"]),
        )
        self._compiled: Session | None = None
        self._process = 0

    @classmethod
    def load(cls, *, anew: bool = False) -> "OpenVinoMiniLM":
        """Find the weights, and build the encoder unless this host has it; see `MiniLM.load`."""
        check_installed("openvino")
        found = weights.find()
        return cls(found, built.build_once(digest_of(found), lambda folder: build(found, folder), anew=anew))

    def _running(self) -> Any:
        if self._compiled is None or self._process != os.getpid():
            self._compiled = Session.read(built.folder_of(self.identity.digest) / GRAPH)
            self._process = os.getpid()
        return self._compiled


class Session:
    """A compiled graph that is asked like one of onnxruntime."""

    def __init__(self, model: Any) -> None:
        import openvino

        self._request = openvino.Core().compile_model(model, "CPU", _SETTINGS).create_infer_request()
        # It drops inputs that nothing reads, and refuses to be given them.
        self._inputs = {name for port in model.inputs for name in port.get_names()}

    @classmethod
    def read(cls, graph: Path) -> "Session":
        """Raises EncoderUnavailable if it is damaged."""
        import openvino

        try:
            return cls(openvino.Core().read_model(graph))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:300]
            raise EncoderUnavailable(
                f"{graph} cannot be opened: {reason}; have it built again: manage.py encoders build {SPEC}"
            ) from None

    def run(self, _: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[Matrix]:
        read = {name: value for name, value in feeds.items() if name in self._inputs}
        # What it answers with is written over by the next call.
        return [np.array(self._request.infer(read)[0], dtype=np.float32)]


def digest_of(found: weights.Weights) -> str:
    return weights.digest_of({"weights": found.digest, "recipe": RECIPE, "precision": "int8 by NNCF"})


def check_installed(*packages: str) -> None:
    """Raises EncoderUnavailable, naming what is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise EncoderUnavailable(f"the encoder {SPEC} needs {' and '.join(missing)}; {INSTALL}")


def build(found: weights.Weights, folder: Path) -> dict[str, Any]:
    """Quantize the exact graph, and compare the two. Raises EncoderUnavailable if too much of it is lost."""
    check_installed("openvino", "nncf")
    import openvino

    from embeddings.encoders import building, quality
    from embeddings.encoders.sessions import session

    model = _quantize(openvino.Core().read_model(building.standard_graph(found)), found)
    exact = session(building.exact_graph(found))
    measured = building.measure(found, cast("InferenceSession", Session(model)), exact)
    overlap = measured["top_10_overlap"]
    if overlap < quality.LEAST_OVERLAP:
        raise EncoderUnavailable(
            f"in 8 bits by OpenVINO the encoder finds {overlap:.3f} of the ten nearest that it finds in 32 bits; at "
            f"least {quality.LEAST_OVERLAP} is asked for; the encoder minilm may serve"
        )
    openvino.save_model(model, folder / GRAPH, compress_to_fp16=False)
    return {"quality": measured, "recipe": RECIPE, "weights": found.digest}


def _quantize(model: Any, found: weights.Weights) -> Any:
    """By what passes through the graph for passages that it is not judged by."""
    from embeddings.encoders import quality
    from embeddings.encoders.batching import pad

    rows = [one.ids for one in read_tokenizer(found).encode_batch_fast(quality.sample(part=1))]

    def feeds(row: list[int]) -> dict[str, NDArray[Any]]:
        ids, _ = pad([row], np.array([0]))
        return {"ids": ids, "mask": np.ones((1, 1, ids.shape[1]), np.float32)}

    products = [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    with _nncf() as nncf:
        return nncf.quantize(
            model,
            nncf.Dataset(rows, feeds),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
            # The last one only adds up the tokens, and would add up their rounding.
            ignored_scope=nncf.IgnoredScope(names=products[-1:]),
        )


@contextlib.contextmanager
def _nncf() -> Iterator[Any]:
    """The package, which would send word of its use to its makers, and log as if it were a program."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf

        nncf.set_log_level(logging.ERROR)
        yield nncf
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
