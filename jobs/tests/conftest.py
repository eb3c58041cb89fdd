"""Helpers for tests of the ledger."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.tests.live import LiveWorker, LiveWorkers


@pytest.fixture(scope="module")
def _module_workers(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveWorker]:
    workers = LiveWorkers(tmp_path_factory.mktemp("workers"))
    with django_db_blocker.unblock():
        worker = workers("default", "fast_lane", "embedding", "indexing", "maintenance")
    yield worker
    workers.stop()


@pytest.fixture
def worker(transactional_db: None, _module_workers: LiveWorker, request: pytest.FixtureRequest) -> LiveWorker:
    """A real worker on every queue that these tests use, shared by a module's tests."""
    return _module_workers


@pytest.fixture
def until() -> Callable[..., Any]:
    """`until(condition)`: wait until it returns something true, and return that; fail after `seconds`."""

    def wait(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"not true within {seconds} s: {condition}")
            time.sleep(0.02)

    return wait


@pytest.fixture
def ended(until: Callable[..., Any]) -> Callable[..., Any]:
    """`ended(job_id)`: wait until the job is finished, and return it."""
    from jobs.models import Job
    from jobs.models.job import FINISHED

    def wait(job_id: str, seconds: float = 20.0) -> Job:
        finished = Job.objects.filter(pk=job_id, state__in=FINISHED)
        return until(finished.first, seconds)

    return wait
