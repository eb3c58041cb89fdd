"""What a search answers."""

from dataclasses import dataclass, field
from typing import Any

from embeddings.services.fusion import Fused
from embeddings.services.snippets import Snippet
from embeddings.serving.snapshot import Snapshot, Tier


@dataclass(frozen=True)
class Hit:
    """A document that was found, by its best chunk.

    id: its sender's. score: higher is better; of what kind depends on the mode. tier: whose vector found it (main,
    or fast while the model has not come to it), or text. chunk: {id, position, start, end}, in characters of the text.
    explain: rank and score in each ranking, what that adds to their fusion, and the fusion.
    """

    id: str
    score: float
    rank: int
    tier: str
    snippet: Snippet
    metadata: dict[str, Any]
    chunk: dict[str, int]
    explain: dict[str, Any]
    document_id: int


@dataclass(frozen=True)
class Answer:
    """index: the version that was searched; None where all vectors lie beside. beside: what was added to it.

    warnings: what was left out, and why. timing: ms.
    """

    collection: str
    mode: str
    hits: list[Hit]
    index: dict[str, Any] | None
    beside: dict[str, int]
    timing: dict[str, float]
    warnings: list[str] = field(default_factory=list)

    def as_json(self, *, explain: bool = True, highlight: bool = False) -> dict[str, Any]:
        """For the API and the command. highlight: snippets as HTML with the words in <mark>, beside the plain text."""
        return {
            "collection": self.collection,
            "mode": self.mode,
            "hits": [_hit(hit, explain=explain, highlight=highlight) for hit in self.hits],
            "index": self.index,
            "beside": self.beside,
            "timing": self.timing,
            "warnings": self.warnings,
        }


def _hit(hit: Hit, *, explain: bool, highlight: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": hit.id,
        "score": hit.score,
        "rank": hit.rank,
        "tier": hit.tier,
        "snippet": hit.snippet.text,
        "metadata": hit.metadata,
        "chunk": hit.chunk,
    }
    if highlight:
        shown["snippet_html"] = hit.snippet.html()
    if explain:
        shown["explain"] = hit.explain
    return shown


def index_of(snapshot: Snapshot) -> dict[str, Any] | None:
    """The version that a snapshot searches, and the model whose vectors it compares."""
    tier = snapshot.main
    if tier is None:
        return None
    version = tier.version
    return {
        "version": None if version is None else version.number,
        "model": str(tier.model),
        "kind": "" if version is None else version.kind,
        "count": 0 if version is None else version.count,
        "built_at": None if version is None or version.built_at is None else version.built_at.isoformat(),
    }


def beside_of(snapshot: Snapshot) -> dict[str, int]:
    """delta: chunks beside the index. tombstones: those in it that have gone. pending: known to the fast tier alone."""
    tier = snapshot.main
    return {
        "delta": 0 if tier is None else len(tier.beside),
        "tombstones": 0 if tier is None else len(tier.tombstones),
        "pending": len(snapshot.waiting),
    }


def warnings_of(snapshot: Snapshot) -> list[str]:
    """What stands in the way of a whole answer."""
    found = [snapshot.warning] if snapshot.warning else []
    if snapshot.main is None and snapshot.fast is None:
        found.append("nothing is embedded yet; only words are searched")
    elif any(_is_partial(tier) for tier in (snapshot.main, snapshot.fast)):
        found.append("the index is being built; until then the newest documents are searched by vector, all by words")
    damaged = sum(tier.damaged for tier in (snapshot.main, snapshot.fast) if tier is not None)
    if damaged:
        found.append(
            f"damaged vectors are left out ({damaged:,} in all); rebuild the index, which embeds their texts again"
        )
    return found


def _is_partial(tier: Tier | None) -> bool:
    return tier is not None and tier.is_partial


def explained(one: Fused) -> dict[str, Any]:
    parts: dict[str, Any] = {
        name: {"rank": place.rank, "score": round(place.score, 6), "share": round(place.share, 6)}
        for name, place in one.places.items()
    }
    return {**parts, "fused": round(one.score, 6)}
