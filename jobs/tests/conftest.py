"""Helpers for tests of the ledger."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.ledger.connection import effects as effects_connection
from jobs.stack.servers import Valkey
from jobs.tests.alerting import looking
from jobs.tests.live import LiveWorker
from jobs.watch import delivering

#: How much longer than on an idle machine is waited for what will come, before a test fails.
PATIENCE = 4


@pytest.fixture(scope="module")
def _module_worker(shared_workers: Callable[..., LiveWorker]) -> LiveWorker:
    return shared_workers("default", "fast_lane", "embedding", "indexing", "maintenance")


@pytest.fixture
def worker(transactional_db: None, _module_worker: LiveWorker) -> LiveWorker:
    """A real worker on every queue that these tests use, shared by a module's tests."""
    return _module_worker


@pytest.fixture
def until() -> Callable[..., Any]:
    """`until(condition)`: wait until it returns something true, and return that.

    Fails after `seconds` on an idle machine; a busy one is given PATIENCE times that.
    """

    def wait(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"not true within {seconds * PATIENCE:g} s: {condition}")
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


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """`look()`: one turn of the alerts' sweep, and of what it has owed."""
    monkeypatch.setattr(delivering, "deliver_soon", lambda: None)
    with looking() as turn:
        yield turn
    effects_connection().close()


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A broker of the test's own, which it may break."""
    data = tmp_path_factory.mktemp("v")
    server = Valkey(data, data / "s")
    with (data / "log").open("wb") as log:
        server.run(log)
        yield server
        server.stop()
