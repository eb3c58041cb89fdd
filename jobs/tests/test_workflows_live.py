"""Canvases on real workers, whose children and main processes are killed meanwhile."""

import os
import random
import signal
import time

import psutil
import pytest
from celery import chain, chord, current_app

from jobs.models import Chord, ChordState, Job, State
from jobs.models.job import FINISHED
from jobs.tests import probe_tasks as probe

pytestmark = pytest.mark.django_db(transaction=True)


def slow(value):
    return probe.slow_add.s(value, 0.1)


def canvas(width):
    """A chord of chains whose members each take a moment, behind a step and before another one."""
    header = [chain(slow(n), slow(1)) for n in range(width)]
    inner = chord([slow(1), slow(2)], probe.total.s())
    return chain(slow(10), chord([*header, inner], probe.total.s()), slow(1000))


def value_of_canvas(width):
    # Each header chain: 10 + n + 1; the inner chord: 11 + 12; the step at the end adds 1000.
    return sum(10 + n + 1 for n in range(width)) + 23 + 1000


def rows_of_canvas(width):
    return 1 + 2 * width + 3 + 1 + 1


def kill_a_child(worker):
    children = psutil.Process(worker.pid).children()
    if children:
        os.kill(random.choice(children).pid, signal.SIGKILL)


def assert_all_ended_well(results, width, until, seconds):
    until(lambda: not Job.objects.exclude(state__in=FINISHED).exists() and all_there(results), seconds)
    assert set(Job.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
    assert [current_app.AsyncResult(result.id).result for result in results] == [value_of_canvas(width)] * len(results)
    assert Job.objects.count() == len(results) * rows_of_canvas(width)
    assert set(Chord.objects.values_list("state", flat=True)) == {ChordState.JOINED}


def all_there(results):
    return Job.objects.filter(pk__in=[result.id for result in results]).count() == len(results)


@pytest.mark.long
def test_canvases_survive_children_that_are_killed(live_worker, until):
    worker = live_worker("default", concurrency=3)
    results = [canvas(3).delay() for _ in range(2)]

    for _ in range(3):
        time.sleep(0.4)
        kill_a_child(worker)

    assert_all_ended_well(results, 3, until, 60)


@pytest.mark.long
def test_canvases_survive_workers_that_are_killed(live_worker, until):
    workers = [live_worker("default", concurrency=2) for _ in range(2)]
    results = [canvas(4).delay() for _ in range(6)]

    for _ in range(3):
        time.sleep(0.7)
        workers.pop(0).kill()
        workers.append(live_worker("default", concurrency=2))
        kill_a_child(workers[0])

    assert_all_ended_well(results, 4, until, 75)
