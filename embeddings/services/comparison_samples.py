"""Samples of a comparison: kept as the ids of chunks, and shown with what whoever asks may see of those now."""

import re
from collections.abc import Sequence
from typing import Any

from embeddings.models import Collection, ModelComparison
from embeddings.services import collections

LONGEST_QUERY = 300
SNIPPET = 160
HIDDEN = "hidden or deleted"

_SENTENCE = re.compile(r".{20,}?[.!?](?=\s|$)", re.DOTALL)

#: (chunk, score), the best first.
Answers = Sequence[tuple[int, float]]


def first_sentence(text: str) -> str:
    """What is asked of a chunk's text: its first sentence, or, without one, its beginning."""
    beginning = text[:LONGEST_QUERY]
    found = _SENTENCE.match(beginning.strip())
    return " ".join((found.group() if found else beginning).split())


def kept(query: str, chunk_id: int | None, overlap: float, current: Answers, candidate: Answers) -> dict[str, Any]:
    """A sample as it is stored. Of a query that was taken from a chunk, the chunk alone is: its text may go yet."""
    asked: dict[str, Any] = {"query": query} if chunk_id is None else {"query_chunk": chunk_id}
    sides = {"current": current, "candidate": candidate}
    answers = {name: [[chunk, round(score, 4)] for chunk, score in side] for name, side in sides.items()}
    return {**asked, "overlap": round(overlap, 3), **answers}


def shown(comparison: ModelComparison, user: Any = None) -> list[dict[str, Any]]:
    """The samples of a comparison, with what the user may see of them. None and superusers see all that is there.

    query: None if it was taken from a chunk that is hidden from the user or deleted; then no answers are told. current,
    candidate: [{chunk, document, text, score}]. left_out: answers of either side that are hidden or deleted.
    """
    samples = [sample for sample in comparison.samples if _is_of_ids(sample)]
    details = _details(comparison.collection, _chunks_of(samples), user)
    return [_shown(sample, details) for sample in samples]


def _is_of_ids(sample: dict[str, Any]) -> bool:
    """Not so where a process of an earlier release wrote it: then it holds texts."""
    return all(isinstance(answer, list) for side in ("current", "candidate") for answer in sample[side])


def _chunks_of(samples: Sequence[dict[str, Any]]) -> list[int]:
    answers = {chunk for sample in samples for side in ("current", "candidate") for chunk, _ in sample[side]}
    return sorted(answers | {sample["query_chunk"] for sample in samples if "query_chunk" in sample})


def _details(collection: Collection, chunk_ids: list[int], user: Any) -> dict[int, dict[str, Any]]:
    from embeddings.services.filters import condition
    from embeddings.services.scope import Scope

    if not chunk_ids:
        return {}
    return Scope(collection.pk, collections.groups_of(user), condition(None)).details(chunk_ids)


def _shown(sample: dict[str, Any], details: dict[int, dict[str, Any]]) -> dict[str, Any]:
    query = sample.get("query")
    if query is None and sample["query_chunk"] in details:
        query = first_sentence(details[sample["query_chunk"]]["text"])
    sides: dict[str, list[dict[str, Any]]] = {"current": [], "candidate": []}
    if query is not None:
        sides = {
            name: [_answer(chunk, score, details) for chunk, score in sample[name] if chunk in details]
            for name in sides
        }
    left_out = sum(len(sample[name]) - len(seen) for name, seen in sides.items())
    return {"query": query, "overlap": sample["overlap"], **sides, "left_out": left_out}


def _answer(chunk_id: int, score: float, details: dict[int, dict[str, Any]]) -> dict[str, Any]:
    found = details[chunk_id]
    text = " ".join(found["text"][:SNIPPET].split())
    return {"chunk": chunk_id, "document": found["external_id"], "text": text, "score": score}
