"""Effects of real workers that are killed in the middle; the far side's log is the judge."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.models import Effect, Job, State
from jobs.operators.actors import command_actor
from jobs.operators.effects import decide_effect
from jobs.tasks import effect as selftest_effect
from jobs.tests.effect_probes import probe_effect
from jobs.tests.far_side import FarSide
from jobs.tests.live import LiveWorker

pytestmark = pytest.mark.django_db(transaction=True)
MODULES = "jobs.tests.probe_tasks,jobs.tests.effect_probes"
BEFORE = "before the write"


@pytest.fixture
def far_side() -> Iterator[FarSide]:
    server = FarSide()
    yield server
    server.close()


@pytest.fixture(scope="module")
def _shared(shared_workers: Callable[..., LiveWorker]) -> None:
    shared_workers("default", concurrency=1, TASK_MODULES=MODULES)


@pytest.fixture
def shared_worker(transactional_db: None, _shared: None) -> None:
    """A worker that the quick tests share."""


def kill_child(job_id: str) -> None:
    pid = Job.objects.values_list("pid", flat=True).get(pk=job_id)
    assert pid
    os.kill(pid, signal.SIGKILL)


def test_a_child_killed_between_intent_and_write_leaves_it_to_a_person(
    shared_worker: None, far_side: FarSide, tmp_path: Path, until: Any, ended: Any
) -> None:
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
    shared_worker: None, far_side: FarSide, tmp_path: Path, until: Any, ended: Any
) -> None:
    (tmp_path / f"{BEFORE}.go").touch()
    far_side.steps = ["freeze after storing"]
    sent = probe_effect.delay(far_side.url, "k", str(tmp_path), far_side.lookup_url)
    until(far_side.received.is_set)

    kill_child(sent.id)

    assert ended(sent.id, 40).state == State.SUCCEEDED
    assert far_side.carried_out == ["k"]
    assert Effect.objects.get().receipt == "found"


def test_the_self_test_without_a_look_up_fails_at_once_when_its_answer_is_lost(
    shared_worker: None, far_side: FarSide, ended: Any
) -> None:
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
