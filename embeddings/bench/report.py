"""Runs the parts one after another on servers of their own."""

from embeddings.bench import PARTS
from jobs.bench.figures import Options, Report
from jobs.bench.parts import run_parts
from jobs.bench.stack import Stack

#: How often a part measures what it compares, where that is not said to be otherwise.
ROUNDS = 3


def run(options: Options) -> Report:
    modules = {part: f"embeddings.bench.{part}" for part in PARTS}
    return run_parts("embeddings", modules, options, empty, options.rounds or (1 if options.quick else ROUNDS))


def empty(stack: Stack) -> None:
    """Forget documents, indexes and jobs of the part before."""
    stack.broker(0).flushall()
    with stack.connect() as connection:
        connection.execute(
            "TRUNCATE embeddings_collection, embeddings_vector, jobs_job, jobs_attempt, "
            "django_celery_results_taskresult CASCADE"
        )
        connection.execute("CHECKPOINT")
