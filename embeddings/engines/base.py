"""What an engine is: it builds an index of vectors, opens it for searching, and removes it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from embeddings.errors import EngineUnavailable, IndexDamaged
from embeddings.models import IndexVersion
from embeddings.vectors import Ids, Matrix

__all__ = ["Built", "EngineUnavailable", "Held", "IndexDamaged", "IndexEngine", "Searcher", "Source"]


@dataclass(frozen=True)
class Source:
    """The vectors of a build. ids: shape (n,), ascending. vectors: shape (n, d), float16, unit length, on disk.

    `vectors` is a memory map, so that a build need not hold them: go through it in slices.
    """

    ids: Ids
    vectors: Any
    dimension: int


@dataclass(frozen=True)
class Held:
    """Held queries with their exact answers. queries: shape (q, d); truth: shape (q, 10), chunk ids.

    A query is the vector of a chunk that is in the index, and the chunk itself is not among its answers; or it lies
    between chunks, and its id is -1.
    """

    queries: Matrix
    query_ids: Ids
    truth: Ids


@dataclass(frozen=True)
class Built:
    """What a build made. parameters: how it is searched. tried: every kind that was measured, to be shown."""

    kind: str
    parameters: dict[str, Any]
    bytes: int
    digest: str
    recall_mean: float
    recall_p5: float
    tried: list[dict[str, Any]] = field(default_factory=list)


class Searcher(Protocol):
    """An open index, for any number of threads at once."""

    count: int

    def ids(self) -> Ids:
        """The ids in it, ascending; a memory map where it can be."""
        ...

    def search(self, queries: Matrix, k: int, allowed: Ids | None = None) -> tuple[Ids, Matrix]:
        """The k nearest to each query by inner product.

        queries: shape (q, d), unit length. allowed: ascending ids; only these are answered. Returns ids and scores,
        both of shape (q, k), best first; ids of -1 where there are fewer. Raises IndexDamaged.
        """
        ...

    def close(self) -> None: ...


class IndexEngine(Protocol):
    def build(self, version: IndexVersion, source: Source, held: Held, folder: Path, target: float) -> Built:
        """Build the index of a version, in `folder` (which exists and is temporary) or elsewhere under its own name.

        target: the mean recall@10 to aim at when the kind and its parameters are chosen. Reports progress by
        `job.progress` and heeds `job.check_cancelled()`. Raises EngineUnavailable.
        """
        ...

    def open(self, version: IndexVersion, folder: Path | None) -> Searcher:
        """Open and warm a ready version. folder: its files on this host, for engines that have any."""
        ...

    def remove(self, version: IndexVersion) -> None:
        """Remove what `build` made outside the folder. It may be gone already."""
        ...
