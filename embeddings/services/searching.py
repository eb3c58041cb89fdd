"""Searching a collection: by vector, by words, or by both. The API, the admin and the command all come here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from re import Pattern
from typing import Any

from django.core.exceptions import PermissionDenied

from embeddings.models import Collection
from embeddings.services import answers, asking, collections, fusion, retrieval, words
from embeddings.services.answers import Answer, Hit
from embeddings.services.asking import DEFAULT_K, FIRST, PERMISSION, Question, SearchRefused, SearchUnavailable
from embeddings.services.fusion import Fused, Ranked
from embeddings.services.retrieval import ByVector, Queries
from embeddings.services.scope import MOST_ALLOWED, Scope
from embeddings.services.snippets import pattern_of, snippet
from embeddings.serving import reader
from embeddings.serving.snapshot import Snapshot
from embeddings.vectors import Ids

#: Asked for first: some are of one document, or not in scope.
LEAST_ASKED = 50
MOST_ASKED = 1_600
TOO_WIDE = (
    f"the filter leaves more than {MOST_ALLOWED:,} chunks, or cannot be looked up quickly: only the nearest "
    f"{MOST_ASKED:,} of all were looked at; narrow it by a member that is equal to something"
)


@dataclass
class Timing:
    """Milliseconds of each part, and in all."""

    started: float = field(default_factory=time.perf_counter)
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        before = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + (time.perf_counter() - before) * 1000

    def as_json(self) -> dict[str, float]:
        """snapshot: to have the index ready, which takes long at a process' first search alone."""
        parts = {name: round(self.parts.get(name, 0.0), 2) for name in ("snapshot", "encode", "vector", "text", "join")}
        return {**parts, "total": round((time.perf_counter() - self.started) * 1000, 2)}


@dataclass
class Search:
    """One search under way: all of it uses one snapshot."""

    scope: Scope
    snapshot: Snapshot
    question: Question
    timing: Timing
    #: A document that is not answered.
    exclude: int | None = None
    _documents: dict[int, int] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)

    def key_of(self, chunk_id: int) -> int | None:
        """What a chunk counts under; None if it has gone or is out of scope."""
        document = self._documents.get(chunk_id)
        if document is None or document == self.exclude:
            return None
        return document if self.question.by_document else chunk_id

    def learn(self, chunk_ids: list[int]) -> int:
        """Find the documents of chunks. Returns how many chunks are out of scope."""
        with self.timing.of("join"):
            self._documents |= self.scope.documents_of([one for one in chunk_ids if one not in self._asked])
        self._asked.update(chunk_ids)
        return sum(1 for one in chunk_ids if one not in self._documents)


def search(
    user: Any,
    query: str,
    k: int = DEFAULT_K,
    collection: str = FIRST,
    filters: Any = None,
    mode: str = "hybrid",
    *,
    by_document: bool = True,
) -> Answer:
    """The k best documents for a query, of those that the user may see.

    user: None is a caller within the system, who sees all. mode: hybrid (vector and words, fused by reciprocal rank),
    vector, text (words alone), fast (the fast tier's nearest, ordered by the model). filters: see `filters.condition`.
    by_document: False gives a hit for each chunk. Raises SearchRefused, UnknownCollection, PermissionDenied,
    SearchUnavailable, OperationalError.
    """
    timing = Timing()
    if user is not None and not user.has_perm(PERMISSION):
        raise PermissionDenied(f"{user.get_username() or 'anonymous'} lacks the permission {PERMISSION}")
    question = asking.check(query, k, filters, mode, by_document)
    found = collections.find(collection, user)
    with timing.of("snapshot"):
        snapshot = reader.snapshot(found.pk)
    running = Search(Scope(found.pk, collections.groups_of(user), question.condition), snapshot, question, timing)
    with timing.of("encode"):
        queries = _queries(running)
    rankings: dict[str, list[Ranked]] = {}
    if question.mode != "text":
        _check_can_be_asked(running, queries)
        rankings["vector"] = by_vector(running, queries)
    if question.mode in ("hybrid", "text"):
        rankings["text"] = _by_words(running, found, queries.warnings, is_alone=not rankings.get("vector"))
    return answer(running, found, rankings, queries.warnings)


def _queries(running: Search) -> Queries:
    mode = running.question.mode
    if mode == "text":
        return Queries()
    if mode == "fast" and running.snapshot.fast is None:
        raise SearchRefused("mode", "fast: the collection has no fast tier; choose vector, or give it a fast encoder")
    return retrieval.embed(running.snapshot, running.question.text, fast=mode == "fast")


def _check_can_be_asked(running: Search, queries: Queries) -> None:
    """Words alone would be another answer than was asked for, but are part of a hybrid one."""
    if queries.main is None and queries.fast is None and queries.warnings and running.question.mode != "hybrid":
        raise SearchUnavailable("; ".join(queries.warnings), queries.retry_seconds)


def by_vector(running: Search, queries: Queries) -> list[Ranked]:
    """Ask for more until there are k keys in scope, or no more at all; of a narrow scope, tell the index its ids.

    So a filter that lets little through still finds the nearest of that.
    """
    question, scope = running.question, running.scope
    n, allowed = max(4 * question.k, LEAST_ASKED), None
    may_narrow = scope.is_restricted
    while True:
        with running.timing.of("vector"):
            found = _nearest(running, queries, n, allowed)
        hidden = running.learn(found.ids())
        ranking = retrieval.ranking_of(found, running.key_of, running.snapshot.waiting)
        if len(ranking) >= question.k or found.is_all:
            return ranking
        if n >= MOST_ASKED:
            if hidden and scope.is_filtered:
                queries.warnings.append(TOO_WIDE)
            return ranking
        if hidden and may_narrow:
            may_narrow = False
            with running.timing.of("join"):
                allowed = scope.allowed_ids()
            if allowed is not None:
                continue
        n = min(4 * n, MOST_ASKED)


def _nearest(running: Search, queries: Queries, n: int, allowed: Ids | None) -> ByVector:
    if running.question.mode == "fast":
        return retrieval.two_tier(running.snapshot, queries, n, allowed)
    return retrieval.nearest(running.snapshot, queries, n, allowed)


def _by_words(running: Search, collection: Collection, warnings: list[str], *, is_alone: bool) -> list[Ranked]:
    """is_alone: nothing else has an answer, so some of the words are enough. Raises SearchUnavailable then alone."""
    question = running.question
    n = max(4 * question.k, LEAST_ASKED)
    try:
        with running.timing.of("text"):
            found = words.with_words(running.scope, collection.language, question.text, n, any_word=is_alone)
    except words.WordsTooCostly as exc:
        found = exc.found
        if is_alone and not found:
            raise SearchUnavailable("; ".join([*warnings, str(exc)])) from None
        warnings.append(f"not all was looked up by words: {exc}")
    running.learn([chunk_id for chunk_id, _ in found])
    return fusion.ranked(found, running.key_of)


def answer(running: Search, collection: Collection, rankings: dict[str, list[Ranked]], warnings: list[str]) -> Answer:
    """Fuse the rankings, and look once more at what is answered: it may have been deleted meanwhile."""
    question, snapshot = running.question, running.snapshot
    best = fusion.fuse(rankings, running.key_of)[: question.k]
    with running.timing.of("join"):
        details = running.scope.details([one.best.chunk_id for one in best])
    wanted = pattern_of(question.text)
    hits: list[Hit] = []
    for one in best:
        row = details.get(one.best.chunk_id)
        if row is not None:
            hits.append(_hit(one, row, wanted, len(hits) + 1, _score_of(question.mode)))
    return Answer(
        collection=collection.name,
        mode=question.mode,
        hits=hits,
        index=answers.index_of(snapshot),
        beside=answers.beside_of(snapshot),
        timing=running.timing.as_json(),
        warnings=[*answers.warnings_of(snapshot), *dict.fromkeys(warnings)],
    )


def _score_of(mode: str) -> Callable[[Fused], float]:
    """By both, the fusion's; else that of the ranking itself."""
    return (lambda one: one.score) if mode == "hybrid" else (lambda one: one.best.score)


def _hit(one: Fused, row: dict[str, Any], shown: Pattern[str], rank: int, score: Callable[[Fused], float]) -> Hit:
    vector = one.places.get("vector")
    return Hit(
        id=row["external_id"],
        score=round(score(one), 6),
        rank=rank,
        tier="text" if vector is None else vector.tier,
        snippet=snippet(row["text"], shown),
        metadata=row["metadata"],
        chunk={"id": row["id"], "position": row["position"], "start": row["start"], "end": row["end"]},
        explain=answers.explained(one),
        document_id=row["document_id"],
    )


__all__ = ["Search", "Timing", "answer", "by_vector", "search"]
