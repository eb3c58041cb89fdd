"""Benchmarks: `manage.py bench NAME`.

An app adds its own in a module `bench`, with `jobs.bench.registry.benchmark`.
"""

from jobs.bench.figures import Options, Report
from jobs.bench.registry import benchmark


@benchmark("jobs", summary="drain, send and start jobs, beside plain Celery and stock django-celery-results")
def jobs(options: Options) -> Report:
    from jobs.bench.ledger import run

    return run(options)
