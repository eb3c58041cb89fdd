"""Processes of a benchmark that embed: they know where encoders are kept."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.conf import settings

from jobs.bench import children as shared
from jobs.bench.children import ONE_THREAD, Child, NotInstalled, together
from jobs.bench.stack import Stack

INSIDE = "embeddings.bench.inside"

__all__ = ["ONE_THREAD", "Child", "NotInstalled", "child", "children", "prepare", "together"]


def child(stack: Stack, name: str, package: str = INSIDE, **more: str) -> AbstractContextManager[Child]:
    """One of them, with further environment. It is gone at the end."""
    return shared.child(stack, name, package, **_encoders(), **more)


def children(stack: Stack, name: str, count: int, **more: str) -> AbstractContextManager[list[Child]]:
    return shared.children(stack, name, count, INSIDE, **_encoders(), **more)


def _encoders() -> dict[str, str]:
    return {"ENCODERS_DIR": str(settings.EMBEDDINGS["ENCODERS_DIR"])}


def prepare(them: Sequence[Child], spec: str, counts: dict[str, int]) -> Any:
    """Load an encoder and a share of the texts in each; the first of them builds it if that is still to be done.

    Returns what the encoder says of itself. Raises NotInstalled.
    """
    arguments = [
        {"spec": spec, "counts": counts, "number": number, "processes": len(them)} for number in range(len(them))
    ]
    said = them[0].call("encoding.prepare", **arguments[0])
    together(them[1:], "encoding.prepare", arguments[1:])
    return said
