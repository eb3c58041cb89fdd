"""Encoders of kind `double:NAME` for tests, which embed texts by their hash and do what a marker in a text says.

A worker's processes load this module by TASK_MODULES, and note how many texts they embed in the file DOUBLES_LOG.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence

import numpy as np

from embeddings.encoders import registry
from embeddings.encoders.base import Encoded, Encoder, EncoderUnavailable, Identity, ProviderBusy, TextRefused
from embeddings.vectors import unit

DIMENSION = 16
#: Texts that any double in this process has embedded, in order.
seen: list[str] = []


class Double:
    """NAME may be: missing (it cannot be loaded), away, busy, broken (no text can be embedded), or anything else."""

    def __init__(self, name: str) -> None:
        self.name = name
        digest = hashlib.sha256(name.encode()).hexdigest()
        self.identity = Identity(f"double:{name}", digest, DIMENSION)

    def encode(self, texts: Sequence[str]) -> Encoded:
        if self.name == "away":
            raise EncoderUnavailable("the double is away; fetch it")
        if self.name == "busy":
            raise ProviderBusy(7.0, "the double is busy")
        if self.name == "broken" or any("FAIL" in text for text in texts):
            raise RuntimeError("the double fell over")
        for place, text in enumerate(texts):
            if "EXIT" in text:
                os._exit(3)
            if "REFUSE" in text:
                raise TextRefused(place, "the double refuses it")
            if "SLOW" in text:
                time.sleep(0.05)
            if "HOLD" in text:
                _hold()
        seen.extend(texts)
        if "DOUBLES_LOG" in os.environ:
            with open(os.environ["DOUBLES_LOG"], "a") as log:
                log.write(f"{os.getpid()} {len(texts)}\n")
        rows = unit(np.stack([_row(text) for text in texts]))
        rows[["NAN" in text for text in texts]] = np.nan
        return Encoded(rows, tokens=sum(len(text.split()) for text in texts), dollars=0.001 * len(texts))


def _hold() -> None:
    """The first process that comes here notes its number in DOUBLES_LOG.held, and stays; the others go on."""
    with contextlib.suppress(FileExistsError), open(f"{os.environ['DOUBLES_LOG']}.held", "x") as held:
        held.write(str(os.getpid()))
        held.flush()
        time.sleep(240)


def _row(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def _load(name: str) -> Encoder:
    if name == "missing":
        raise EncoderUnavailable("the double is not installed; install it")
    return Double(name)


registry.KINDS["double:"] = _load
