"""Effects of real workers that are frozen or killed for longer than their lease; the far side's log is the judge."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.ledger.lease import LEASE_SECONDS
from jobs.models import Effect, EffectState, Job, State
from jobs.tests.effect_probes import probe_effect
from jobs.tests.far_side import FarSide
from jobs.tests.live import LiveWorker, LiveWorkers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]
MODULES = "jobs.tests.probe_tasks,jobs.tests.effect_probes"
BEFORE = "before the write"


@pytest.fixture
def far_side() -> Iterator[FarSide]:
    server = FarSide()
    yield server
    server.close()


@pytest.fixture
def start(live_worker: LiveWorkers) -> Callable[[], LiveWorker]:
    return lambda: live_worker("default", concurrency=1, TASK_MODULES=MODULES)


def stopped(worker: LiveWorker, number: int) -> None:
    """Send a signal to a worker's main process and all its children."""
    main = psutil.Process(worker.pid)
    for process in [main, *main.children(recursive=True)]:
        process.send_signal(number)


@pytest.mark.parametrize("point", ["before the write", "before the answer"])
def test_a_worker_frozen_beyond_its_lease_sends_nothing_when_it_comes_back(
    start: Any, far_side: FarSide, tmp_path: Path, until: Any, ended: Any, point: str
) -> None:
    first = start()
    if point == "before the answer":
        (tmp_path / f"{BEFORE}.go").touch()
        far_side.steps = ["freeze after storing"]
    sent = probe_effect.delay(far_side.url, "k", str(tmp_path), far_side.lookup_url, 10.0)
    until(far_side.received.is_set if point == "before the answer" else (tmp_path / f"{BEFORE}.reached").exists)

    stopped(first, signal.SIGSTOP)
    try:
        start()
        job = ended(sent.id, 90)
    finally:
        (tmp_path / f"{BEFORE}.go").touch()
        far_side.released.set()
        stopped(first, signal.SIGCONT)

    assert job.state == State.SUCCEEDED
    time.sleep(3)  # what the first worker would send, it would send now
    assert far_side.carried_out == ["k"]
    assert Effect.objects.get().state == EffectState.DONE
    assert Job.objects.get().state == State.SUCCEEDED


def test_a_worker_killed_with_its_effect_under_way_is_replaced(
    start: Any, far_side: FarSide, tmp_path: Path, until: Any, ended: Any
) -> None:
    first = start()
    sent = probe_effect.delay(far_side.url, "k", str(tmp_path), far_side.lookup_url)
    until((tmp_path / f"{BEFORE}.reached").exists)

    first.kill()
    start()

    assert ended(sent.id, 3 * LEASE_SECONDS + 20).state == State.SUCCEEDED
    assert far_side.carried_out == ["k"]
