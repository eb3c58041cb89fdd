"""`manage.py bench embeddings`."""

from jobs.bench.figures import Options, Report
from jobs.bench.registry import benchmark

PARTS = ("encoders", "pipeline", "tasks", "unchanged", "store", "index", "swaps")


@benchmark("embeddings", summary="encode, store, index and search documents, beside other ways to do it", parts=PARTS)
def embeddings(options: Options) -> Report:
    from embeddings.bench.report import run

    return run(options)
