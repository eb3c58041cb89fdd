"""Runs the parts one after another on servers of their own."""

from jobs.bench.figures import Options, Report
from jobs.bench.parts import run_parts
from jobs.bench.stack import Stack
from reviews.bench import PARTS


def run(options: Options) -> Report:
    return run_parts("reviews", PARTS, options, empty, 1)


def empty(stack: Stack) -> None:
    """Forget repositories, deliveries and jobs of the part before."""
    stack.broker(0).flushall()
    with stack.connect() as connection:
        connection.execute(
            "TRUNCATE reviews_repository, reviews_delivery, jobs_job, jobs_attempt, jobs_effect, "
            "django_celery_results_taskresult CASCADE"
        )
        connection.execute("CHECKPOINT")
