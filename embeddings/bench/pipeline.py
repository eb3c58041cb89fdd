"""A run over a collection, Celery, ledger and store included, beside the bare loop of the same encoder and texts."""

from embeddings.bench.children import Child, NotInstalled, children, prepare, together
from embeddings.bench.encoders import AT_ONCE
from embeddings.bench.texts import LENGTHS
from embeddings.bench.workers import LANE, forget_jobs, wait_for, worker
from jobs.bench.figures import Figure, Options, median_of
from jobs.bench.machine import cpu_seconds
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import BenchError, Stack

#: The best local encoders first; ngram serves where no weights are.
CANDIDATES, FALLBACK = ("minilm-openvino", "minilm"), "ngram"
ROUNDS = 2
#: Enough that the start and the end of a run, which take the same time at any size, are a small part of it.
TEXTS = {"short": 20_000, "long": 4_000}
WARM_UP, WARM_UP_DOCUMENTS = "warm-up", 1_024

Values = dict[str, float]


def measure(stack: Stack, options: Options) -> Outcome:
    counts = {length: count // (20 if options.quick else 1) for length, count in TEXTS.items()}
    outcome = Outcome(told={"pipeline_documents": counts})
    measured: dict[str, list[Values]] = {}
    for spec in (*CANDIDATES, FALLBACK):
        if spec == FALLBACK and measured:
            break
        try:
            measured[spec] = _encoder(stack, spec, counts, rounds(options, ROUNDS))
        except NotInstalled as exc:
            outcome.not_measured[f"pipeline {spec}"] = str(exc)
    outcome.medians = {f"pipeline {spec}": median_of(values) for spec, values in measured.items()}
    best = next(iter(measured))
    values = outcome.medians[f"pipeline {best}"]
    outcome.told["pipeline_encoder"] = best
    outcome.figures = {
        "docs_per_s_short": Figure(values["short_per_s"], "documents/s", at_least=1000),
        "docs_per_s_long": Figure(values["long_per_s"], "documents/s", at_least=200),
        "pipeline_vs_bare": Figure(min(values["short_vs_bare"], values["long_vs_bare"]), "times", at_least=0.9),
        "put_docs_per_s": Figure(values["short_put_per_s"], "documents/s"),
    }
    return outcome


def _encoder(stack: Stack, spec: str, counts: dict[str, int], times: int) -> list[Values]:
    """Bare loop and run in turns, so that what else the machine does meets both."""
    processes = LANE.children
    with children(stack, f"bare-{spec}", processes) as bare:
        prepare(bare, spec, counts)
        forget_collections(stack)
        _put(bare[0], spec, WARM_UP, min(WARM_UP_DOCUMENTS, counts["short"]))
        put = {f"{length}_put_per_s": _put(bare[0], spec, length, count) for length, count in counts.items()}
        forget_jobs(stack)
        with worker(stack, processes) as pid:
            _run(stack, bare[0], WARM_UP)
            return [_round(stack, bare, counts, pid, spec) | put for _ in range(times)]


def _put(one: Child, spec: str, name: str, count: int) -> float:
    """Documents a second that the service takes in."""
    one.call("documents.collection", name=name, encoder=spec)
    length = name if name in LENGTHS else "short"
    return count / float(one.call("documents.put", name=name, length=length, count=count))


def _round(stack: Stack, bare: list[Child], counts: dict[str, int], pid: int, spec: str) -> Values:
    found: Values = {}
    for length, count in counts.items():
        spans = together(bare, "encoding.all_of", [{"length": length, "at_once": AT_ONCE["short"]}] * len(bare))
        loop = count / (max(end for _, end in spans) - min(began for began, _ in spans))
        forget_vectors(stack)
        pids = {"worker": pid, "postgres": stack.postgres_pid, "valkey": stack.valkey_pid}
        before = {name: cpu_seconds([one]) for name, one in pids.items()}
        run = count / _run(stack, bare[0], length)
        found |= {
            f"{length}_per_s": run,
            f"{length}_bare_per_s": loop,
            f"{length}_vs_bare": run / loop,
            **{f"{length}_{name}_cpu_ms": (cpu_seconds([pids[name]]) - before[name]) / count * 1000 for name in pids},
        }
        check_embedded(stack, length, count)
        tell(f"pipeline: {spec} {length} {run:,.0f} documents/s, the bare loop {loop:,.0f}")
    return found


def _run(stack: Stack, one: Child, name: str) -> float:
    """Seconds from the sending of the job until it ended, which is when the run is done."""
    return wait_for(stack, one.call("sending.send", task="embed_all_documents", collection=name))


def forget_collections(stack: Stack) -> None:
    with stack.connect() as connection:
        connection.execute("TRUNCATE embeddings_collection, embeddings_vector CASCADE")


def forget_vectors(stack: Stack) -> None:
    with stack.connect() as connection:
        connection.execute("TRUNCATE embeddings_vector, embeddings_change")
        connection.execute("CHECKPOINT")


def check_embedded(stack: Stack, name: str, count: int) -> None:
    """Raises BenchError unless each document of a collection has its vector."""
    with stack.connect() as connection:
        row = connection.execute(
            """
            SELECT count(*) FROM embeddings_collection AS o JOIN embeddings_chunk AS c ON c.collection_id = o.id
            JOIN embeddings_vector AS v ON v.content_sha = c.content_sha AND v.model_id = o.model_id WHERE o.name = %s
            """,
            [name],
        ).fetchone()
    if row != (count,):
        raise BenchError(f"{row} of {count} documents of {name} have a vector")
