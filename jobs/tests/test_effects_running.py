"""Effects of real workers that are killed or frozen in the middle; the far side's log is the judge."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.ledger.lease import LEASE_SECONDS
from jobs.models import Effect, EffectState, Job, State
from jobs.operators.actors import command_actor
from jobs.operators.effects import decide_effect
from jobs.tasks import effect as selftest_effect
from jobs.tests.effect_probes import probe_effect
from jobs.tests.far_side import FarSide
from jobs.tests.live import LiveWorker, LiveWorkers

pytestmark = pytest.mark.django_db(transaction=True)
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


def kill_child(job_id: str) -> None:
    pid = Job.objects.values_list("pid", flat=True).get(pk=job_id)
    assert pid
    os.kill(pid, signal.SIGKILL)


def test_a_child_killed_between_intent_and_write_leaves_it_to_a_person(
    start: Any, far_side: FarSide, tmp_path: Path, until: Any, ended: Any
) -> None:
    start()
    sent = probe_effect.delay(far_side.url, "k", str(tmp_path))
    until((tmp_path / f"{BEFORE}.reached").exists)

    kill_child(sent.id)
    job = ended(sent.id, 40)

    assert job.state == State.FAILED
    assert "EffectUncertain" in job.error
    uncertain = Effect.objects.get(is_uncertain=True)
    assert uncertain.job_id == job.pk
    assert far_side.carried_out == []

    decided = decide_effect(command_actor(), uncertain.pk, happened=False, reason="not in its log", retry=True)
    assert decided.job_retried
    assert ended(sent.id).state == State.SUCCEEDED
    assert far_side.carried_out == ["k"]


def test_a_child_killed_between_write_and_answer_is_looked_up(
    start: Any, far_side: FarSide, tmp_path: Path, until: Any, ended: Any
) -> None:
    start()
    (tmp_path / f"{BEFORE}.go").touch()
    far_side.steps = ["freeze after storing"]
    sent = probe_effect.delay(far_side.url, "k", str(tmp_path), far_side.lookup_url)
    until(far_side.received.is_set)

    kill_child(sent.id)

    assert ended(sent.id, 40).state == State.SUCCEEDED
    assert far_side.carried_out == ["k"]
    assert Effect.objects.get().receipt == "found"


def test_the_self_test_without_a_look_up_fails_at_once_when_its_answer_is_lost(
    start: Any, far_side: FarSide, ended: Any
) -> None:
    start()
    far_side.steps = ["reset after storing", "refuse"]
    lost = selftest_effect.delay(far_side.url, "lost")
    job = ended(lost.id)
    again = selftest_effect.delay(far_side.url, "refused at first")

    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert ended(again.id).state == State.SUCCEEDED
    assert far_side.carried_out == ["lost", "refused at first"]

    uncertain = Effect.objects.get(is_uncertain=True)
    decide_effect(command_actor(), uncertain.pk, happened=True, retry=True)
    assert ended(lost.id).state == State.SUCCEEDED
    assert far_side.carried_out == ["lost", "refused at first"]


@pytest.mark.long
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


@pytest.mark.long
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
