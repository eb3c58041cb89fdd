"""A rebuild of a collection in which nothing has changed: embed, build, swap."""

import statistics

from embeddings.bench.children import Child, NotInstalled, child
from embeddings.bench.pipeline import check_embedded
from embeddings.bench.workers import LANE, wait_for, worker
from jobs.bench.figures import Figure, Options
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import Stack

COUNT, ROUNDS = 100_000, 3
#: A cheap encoder: the vectors must only be there.
ENCODERS = ("static", "ngram")
COLLECTION = "unchanged"

_COUNTS = {
    "encoded": "SELECT coalesce(sum(encoded), 0) FROM embeddings_embeddingrun",
    "versions": "SELECT count(*) FROM embeddings_indexversion",
}


def measure(stack: Stack, options: Options) -> Outcome:
    count = 2_000 if options.quick else COUNT
    with child(stack, "unchanged") as one:
        spec = _fill(one, count)
        with worker(stack, LANE.children):
            first = _rebuild(stack, one)
            check_embedded(stack, COLLECTION, count)
            tell(f"unchanged: {count:,} documents embedded by {spec}, indexed and swapped in within {first:.1f} s")
            before = _counts(stack)
            taken = [_rebuild(stack, one) for _ in range(rounds(options, ROUNDS))]
            after = _counts(stack)
    seconds = statistics.median(taken)
    tell(f"unchanged: again within {seconds:.2f} s")
    return Outcome(
        figures={
            "rebuild_unchanged_s": Figure(seconds, "s", at_most=count / 100_000),
            "unchanged_docs_per_s": Figure(count / seconds, "documents/s", at_least=100_000),
            "unchanged_encoded": Figure(after["encoded"] - before["encoded"], "documents", at_most=0),
            "unchanged_indexes_written": Figure(after["versions"] - before["versions"], "versions", at_most=0),
        },
        told={"unchanged": {"documents": count, "encoder": spec, "first_rebuild_s": first, "seconds": taken}},
    )


def _fill(one: Child, count: int) -> str:
    spec = ENCODERS[0]
    try:
        one.call("encoding.prepare", spec=spec, counts={"short": 16}, number=0, processes=1)
    except NotInstalled:
        spec = ENCODERS[1]
    one.call("documents.collection", name=COLLECTION, encoder=spec)
    one.call("documents.fill", name=COLLECTION, length="short", count=count)
    return spec


def _rebuild(stack: Stack, one: Child) -> float:
    first, last = one.call("sending.send_rebuild", collection=COLLECTION)
    return wait_for(stack, last, since=first)


def _counts(stack: Stack) -> dict[str, float]:
    with stack.connect() as connection:
        rows = {key: connection.execute(query.encode()).fetchone() for key, query in _COUNTS.items()}
    return {key: float(row[0]) if row else 0.0 for key, row in rows.items()}
