"""Sessions of onnxruntime: one thread each, and the same sums on every processor."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embeddings.encoders.base import EncoderUnavailable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

File = Path | bytes
#: The probe adds so many products of the largest factors.
PROBE_LENGTH = 384
PROBE_SUM = PROBE_LENGTH * 255 * 127


def session(graph: File, probe: File | None = None) -> "InferenceSession":
    """Open a graph for one thread. probe: for a graph in 8 bits, what `onnx_graph.probe` writes.

    Raises EncoderUnavailable if it is damaged.
    """
    return _open(graph, _options(in_full=probe is not None and _sums_are_cut(probe)))


def _sums_are_cut(probe: File) -> bool:
    """Whether this processor adds 8-bit products in 16 bits, as those with AVX2 and without VNNI do."""
    sums = _open(probe, _options(in_full=False)).run(None, {})[0]
    return bool((sums != sums.dtype.type(PROBE_SUM)).any())


def _options(*, in_full: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # One process a core: a thread that spins while it waits takes the core from another process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Adds 8-bit products in 32 bits everywhere; where that is done anyway, it would take twice the time.
    options.add_session_config_entry("session.x64quantprecision", "1" if in_full else "0")
    # Batches differ in shape; what would be remembered for each of them only grows.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


def _open(graph: File, options: Any) -> "InferenceSession":
    import onnxruntime

    try:
        source = graph if isinstance(graph, bytes) else str(graph)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime raises nothing narrower
        reason = str(exc).strip().splitlines()[0][:300]
        remedy = "have it built again: manage.py encoders build minilm"
        raise EncoderUnavailable(f"the encoder cannot be opened: {reason}; {remedy}") from None
