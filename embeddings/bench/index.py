"""Indexes over 100,000 vectors, real ones and harder ones, by FAISS and by pgvector; with --large, over a million."""

from typing import Any

from embeddings.bench.children import Child, NotInstalled, child
from jobs.bench.figures import Figure, Options, median_of
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import Stack

COUNT, MILLION, ROUNDS, SECONDS = 100_000, 1_000_000, 3, 2.0
#: What a collection asks of its index, and where the two engines are compared.
TARGET, COMPARED_AT = 0.95, 0.93
MEGABYTES = 500


def measure(stack: Stack, options: Options) -> Outcome:
    outcome = Outcome()
    count = 3_000 if options.quick else COUNT
    with child(stack, "index") as one:
        _real(stack, options, count, one, outcome)
    with child(stack, "index") as one:
        _compared(stack, options, count, one, outcome)
    if options.large:
        with child(stack, "index", OMP_NUM_THREADS="") as one:
            _million(stack, options, one, outcome)
    return outcome


def _real(stack: Stack, options: Options, count: int, one: Child, outcome: Outcome) -> None:
    """What a search of real texts gets: the kind that the build chooses by itself, at a collection's usual target."""
    folder = str(stack.data / "real")
    spec = "static"
    try:
        one.call("index.real", folder=folder, count=count, spec=spec)
    except NotInstalled:
        spec = "ngram"
        one.call("index.real", folder=folder, count=count, spec=spec)
    built = _build(one, folder, "faiss", TARGET, f"{count:,} vectors of real texts by {spec}")
    asked = median_of([_ask(one, options, folder, "faiss") for _ in range(rounds(options, ROUNDS))])
    outcome.told["index_real"] = {"vectors": count, "encoder": spec, **built}
    outcome.medians["index real"] = {**asked, "build_s": built["seconds"], "mb": built["mb"]}
    outcome.figures["recall_at_10"] = Figure(asked["recall"], "of 1", at_least=TARGET - 0.01)
    outcome.figures["queries_per_s"] = Figure(asked["queries_per_s"], "queries/s of one core")


def _compared(stack: Stack, options: Options, count: int, one: Child, outcome: Outcome) -> None:
    """Both engines on the vectors that are hard, each as its build tunes it to the same recall."""
    folder = str(stack.data / "synthetic")
    one.call("index.synthetic", folder=folder, count=count)
    built = {
        engine: _build(one, folder, engine, COMPARED_AT, f"{count:,} synthetic vectors")
        for engine in ("faiss", "pgvector")
    }
    measured: dict[str, list[dict[str, float]]] = {"faiss": [], "pgvector": []}
    for _ in range(rounds(options, ROUNDS)):
        for engine, values in measured.items():
            values.append(_ask(one, options, folder, engine))
    pairs = zip(measured["faiss"], measured["pgvector"], strict=True)
    ratio = median_of([{"times": ours["queries_per_s"] / theirs["queries_per_s"]} for ours, theirs in pairs])["times"]
    outcome.told["index_synthetic"] = {"vectors": count, "target": COMPARED_AT, **built}
    for engine, values in measured.items():
        sizes = {"build_s": built[engine]["seconds"], "mb": built[engine]["mb"]}
        outcome.medians[f"index synthetic {engine}"] = median_of(values) | sizes
    outcome.figures["faiss_vs_pgvector"] = Figure(ratio, "times", at_least=4)


def _million(stack: Stack, options: Options, one: Child, outcome: Outcome) -> None:
    count = 30_000 if options.quick else MILLION
    folder = str(stack.data / "million")
    one.call("index.synthetic", folder=folder, count=count)
    built = _build(one, folder, "faiss", TARGET, f"{count:,} synthetic vectors")
    outcome.told["index_1m"] = {"vectors": count, **built}
    outcome.medians["index 1m"] = _ask(one, options, folder, "faiss")
    outcome.figures |= {
        "build_1m_s": Figure(built["seconds"], "s", at_most=60),
        "index_1m_mb": Figure(built["mb"], "MB", at_most=MEGABYTES),
        "build_1m_memory_mb": Figure(built["memory_mb"], "MB", at_most=MEGABYTES),
    }


def _build(one: Child, folder: str, engine: str, target: float, what: str) -> dict[str, Any]:
    built: dict[str, Any] = one.call("index.build", folder=folder, engine=engine, target=target)
    tell(f"index: {what}: {engine} {built['kind']} {built['parameters']} in {built['seconds']:.1f} s")
    return built


def _ask(one: Child, options: Options, folder: str, engine: str) -> dict[str, float]:
    asked: dict[str, float] = one.call(
        "index.ask", folder=folder, engine=engine, seconds=0 if options.quick else SECONDS
    )
    tell(f"index: {engine} recall {asked['recall']:.3f}, {asked['queries_per_s']:,.0f} queries/s")
    return asked
