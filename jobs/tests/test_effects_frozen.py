"""Effects of real workers that are frozen or killed for longer than their lease; the far side's log is the judge."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.ledger.lease import LEASE_SECONDS
from jobs.models import Effect, EffectState, Job, State
from jobs.models.job import UNFINISHED
from jobs.tasks import effect
from jobs.tests.effect_probes import probe_effect
from jobs.tests.far_side import STEPS, FarSide
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


def test_under_random_faults_no_effect_happens_twice_and_what_is_uncertain_is_listed(
    live_worker: LiveWorkers, far_side: FarSide, until: Any
) -> None:
    seed = int(time.time())
    chance = random.Random(seed)
    workers = [live_worker("default", concurrency=2) for _ in range(2)]
    steps = [step for step in STEPS if not step.startswith("freeze")]
    far_side.steps = [chance.choice(["", "", "", *steps]) for _ in range(60)]
    looked_up = [effect.delay(far_side.url, f"looked up {n}", far_side.lookup_url).id for n in range(30)]
    blind = [effect.delay(far_side.url, f"blind {n}").id for n in range(30)]

    for _ in range(15):
        time.sleep(chance.uniform(0.1, 0.6))
        children = [child for worker in workers for child in psutil.Process(worker.pid).children()]
        if children:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(children).kill()

    until(lambda: not Job.objects.filter(pk__in=[*looked_up, *blind], state__in=UNFINISHED).exists(), 90)
    twice = [key for key, count in Counter(far_side.carried_out).items() if count > 1]
    assert twice == [], f"seed {seed}"
    uncertain = set(Effect.objects.filter(is_uncertain=True).values_list("job_id", flat=True))
    for job in Job.objects.filter(pk__in=[*looked_up, *blind]):
        assert job.state == State.SUCCEEDED or job.pk in uncertain or job.crashes >= 3, f"seed {seed}: {job.error}"
    assert {key for key in far_side.carried_out if key.startswith("looked up")} >= {
        f"looked up {n}" for n, pk in enumerate(looked_up) if Job.objects.get(pk=pk).state == State.SUCCEEDED
    }
