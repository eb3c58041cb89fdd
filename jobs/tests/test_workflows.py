"""Chains, groups, chords and what is nested of them: every step one row, whatever happens when."""

import threading
import time
from functools import partial

import pytest
from celery import chain, chord, current_app, group
from django.db import connection
from django_celery_results.models import ChordCounter, TaskResult

from jobs import retention
from jobs.ledger import states, workflow
from jobs.models import Chord, ChordState, Job, State
from jobs.operators.actors import command_actor
from jobs.operators.jobs import cancel_job, discard_job, retry_job
from jobs.tests import probe_tasks as probe
from jobs.tests.in_process import at_once, killed_at, next_queued, rescue_all, run_all, run_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch):
    """Nothing goes to the broker: the tests run what is queued themselves."""
    monkeypatch.setattr("jobs.ledger.door.publish_soon", lambda ids: None)
    monkeypatch.setattr("jobs.operators.jobs.publish_soon", lambda ids: None)


def add(x, y=None):
    return probe.add.s(x) if y is None else probe.add.s(x, y)


def total():
    return probe.total.s()


def value_of(result):
    """Asked of the job alone: through its canvas, Celery would raise the error of a member that was discarded."""
    return current_app.AsyncResult(result.id).get(timeout=1)


#: name → (canvas, value of its last job, rows in all)
CANVASES = {
    "chain": (lambda: chain(add(1, 1), add(10), add(100)), 112, 3),
    "group in a chain": (lambda: chain(group(add(1, 1), add(2, 2)), total(), add(1)), 7, 4),
    "chain that ends in a chord": (lambda: chain(add(1, 1), group(add(1), add(2)), total()), 7, 4),
    "chord": (lambda: chord([add(1, 1), add(2, 2), add(3, 3)], total()), 12, 4),
    "chord of chains": (lambda: chord([chain(add(1, 1), add(1)), chain(add(2, 2), add(2))], total()), 9, 5),
    "chain of chords": (
        lambda: chain(chord([add(1, 1), add(2, 2)], total()), group(add(1), add(2)), total(), add(1)),
        16,
        7,
    ),
    "chord in a chord": (lambda: chord([chord([add(1, 1), add(2, 2)], total()), add(1, 1)], total()), 8, 5),
    "chord of a chain that ends in a chord": (
        lambda: chord([chain(add(1, 1), group(add(1), add(2)), total()), add(0, 1)], total()),
        8,
        6,
    ),
    "chord whose body is a chord": (
        lambda: chord([add(1, 1), add(2, 2)], chord([probe.total.s(), probe.total.s()], total())),
        12,
        5,
    ),
    "chord of one": (lambda: chord([add(1, 1)], total()), 2, 2),
    "group of one in a chain": (lambda: chain(group(add(1, 1)), add(1)), 3, 2),
    "chord of none": (lambda: chord([], total()), 0, 1),
    "replaced by a task": (lambda: probe.replace.s(5), 6, 1),
    "replaced by a chain": (lambda: probe.replace_by_chain.s(5), 7, 2),
    "replaced by a group": (lambda: probe.replace_by_group.s(5), [6, 7], 3),
    "replaced inside a chord": (lambda: chord([probe.replace_by_chain.s(5), add(1, 1)], total()), 9, 4),
    "replaced inside a chain": (lambda: chain(probe.replace_by_chain.s(5), add(1)), 8, 3),
    "linked": (lambda: add(1, 1).set(link=[add(1), add(2)]), 2, 3),
    "linked to a chain": (lambda: add(1, 1).set(link=chain(add(1), add(2))), 2, 3),
    "linked to a group": (lambda: add(1, 1).set(link=group(add(1), add(2))), 2, 3),
    "linked to a chord": (lambda: add(1, 1).set(link=chord([add(1), add(2)], total())), 2, 4),
}


def assert_ended_well(name, result, value, rows):
    found = list(Job.objects.all())
    assert {job.state for job in found} == {State.SUCCEEDED}, name
    assert (value_of(result), len(found)) == (value, rows), name
    assert not Chord.objects.exclude(state=ChordState.JOINED).exists(), name


def send_each():
    """Send one canvas after the other; the ledger is empty before each."""
    for name, (make, value, rows) in CANVASES.items():
        Job.objects.all().delete()
        Chord.objects.all().delete()
        yield name, make().apply_async(), value, rows


def test_a_canvas_survives_a_death_before_each_of_its_statements():
    """Every run is killed before its first statement, then before its second … until one gets through."""
    deaths = 0
    for name, result, value, rows in send_each():
        while (job := next_queued()) is not None:
            for number in range(1, 60):
                with killed_at(number) as was_killed:
                    run_job(job.pk)
                if not was_killed():
                    break
                deaths += 1
                rescue_all()

        assert_ended_well(name, result, value, rows)
    assert deaths > 300


def test_every_step_of_a_canvas_is_one_row_though_all_messages_come_twice():
    for name, result, value, rows in send_each():
        for job_id in run_all():
            if not Job.objects.filter(pk=job_id, state=State.SCHEDULED).exists():
                run_job(job_id)
        run_all()

        assert_ended_well(name, result, value, rows)


def test_a_sender_that_dies_in_between_leaves_no_part_of_a_canvas():
    for number in range(1, 60):
        with killed_at(number) as was_killed:
            chord([chain(add(n, n), add(1)) for n in range(3)], total()).delay()
        if not was_killed():
            break
        assert (Job.objects.count(), Chord.objects.count()) == (0, 0)
    assert number > 4
    assert (Job.objects.count(), Chord.objects.count()) == (3, 1)


def test_members_that_end_at_once_join_once():
    for _ in range(8):
        result = chord([add(n, n) for n in range(6)], total()).delay()
        members = list(Job.objects.filter(state=State.QUEUED).values_list("pk", flat=True))

        at_once(*[partial(run_job, job_id) for job_id in members])

        assert Job.objects.filter(pk=result.id, state=State.QUEUED).count() == 1
        run_all()
        assert value_of(result) == 30


def test_a_member_ending_while_another_one_is_discarded_joins_once():
    for _ in range(8):
        result = chord([add(1, 1), probe.boom.s(), add(2, 2)], total()).delay()
        first, failing, last = Chord.objects.get(pk=result.parent.id).leaves
        run_job(first)
        run_job(failing)

        at_once(partial(run_job, last), partial(discard_job, command_actor(), failing))

        run_all()
        assert value_of(result) == 6


def test_the_last_two_members_see_each_other_though_neither_has_committed(monkeypatch):
    """The one that comes second waits for the chord's lock, and then sees what the first one committed."""
    result = chord([add(1, 1), add(2, 2)], total()).delay()
    first, second = Chord.objects.get().leaves
    is_counted = threading.Event()
    settle = workflow.settle

    def settle_slowly(group_id, *, by=None):
        settle(group_id, by=by)
        if by == first:
            is_counted.set()
            time.sleep(0.3)

    monkeypatch.setattr(workflow, "settle", settle_slowly)

    at_once(lambda: run_job(first), lambda: (is_counted.wait(120), run_job(second)))

    run_all()
    assert value_of(result) == 6
    assert Job.objects.count() == 3


def errbacks():
    return Job.objects.filter(task="probe.note_error")


def test_a_chord_waits_for_its_failed_member_until_that_is_retried():
    body = total().on_error(probe.note_error.s())
    result = chord([add(1, 1), probe.fails_until_asked.s(5), add(2, 2)], body).delay()
    run_all()

    failed = Job.objects.get(state=State.FAILED)
    assert Chord.objects.get().state == ChordState.RESTING
    assert (result.state, errbacks().count()) == ("PENDING", 1)
    assert errbacks().get().args == [result.id]

    retry_job(command_actor(), failed.pk)
    assert Chord.objects.get().state == ChordState.WAITING
    run_all()
    assert (Chord.objects.get().state, errbacks().count()) == (ChordState.RESTING, 2)

    retry_job(command_actor(), failed.pk, kwargs={"works": True})
    run_all()
    assert value_of(result) == 11
    assert (Chord.objects.get().state, errbacks().count()) == (ChordState.JOINED, 2)


def test_a_chord_goes_on_without_a_discarded_member():
    result = chord([add(1, 1), probe.boom.s(), add(2, 2)], total()).delay()
    run_all()

    discard_job(command_actor(), Job.objects.get(state=State.FAILED).pk, "not wanted")

    run_all()
    assert value_of(result) == 6
    assert Job.objects.get(pk=result.id).args == [[2, 4]]


def test_a_chord_rests_while_any_member_is_failed_and_calls_its_errbacks_once():
    body = total().on_error(probe.note_error.s())
    chord([probe.boom.s(), probe.boom.s(), add(1, 1)], body).delay()
    run_all()
    discard_job(command_actor(), Job.objects.filter(state=State.FAILED).values_list("pk", flat=True)[0])

    run_all()
    assert (Chord.objects.get().state, errbacks().count()) == (ChordState.RESTING, 1)


def test_errbacks_of_members_are_called_once_an_exhaustion():
    chord([probe.boom.s().on_error(probe.note_error.s()), add(1, 1)], total()).delay()
    run_all()
    assert errbacks().count() == 1

    retry_job(command_actor(), Job.objects.get(state=State.FAILED).pk)
    run_all()
    assert errbacks().count() == 2


def test_a_chord_whose_members_are_all_discarded_discards_its_body():
    outer = chord([chord([add(1, 1), add(2, 2)], total()), add(3, 3)], total()).delay()
    for leaf in Job.objects.filter(state=State.QUEUED, args__in=[[1, 1], [2, 2]]):
        discard_job(command_actor(), leaf.pk)

    run_all()

    assert value_of(outer) == 6
    dropped = Job.objects.get(state=State.DISCARDED, task="probe.total")
    assert dropped.reason == "every member of its chord was discarded"


@pytest.mark.parametrize("resolve", ["retry", "discard"])
def test_a_cancelled_member_holds_its_chord_up_until_a_person_decides(resolve):
    result = chord([add(1, 1), add(2, 2)], total()).delay()
    cancelled = Chord.objects.get().leaves[1]
    cancel_job(command_actor(), cancelled)
    run_all()
    assert Chord.objects.get().state == ChordState.RESTING

    (retry_job if resolve == "retry" else discard_job)(command_actor(), cancelled)

    run_all()
    assert value_of(result) == (6 if resolve == "retry" else 2)


def test_a_member_that_expires_is_left_out():
    result = chord([add(1, 1), add(2, 2).set(expires=0.01)], total()).delay()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.05)")
        states.discard_expired(cursor)
    run_all()
    workflow.look_at_open_chords()
    run_all()

    assert value_of(result) == 2


@pytest.mark.parametrize("resolve", ["retry", "discard"])
def test_a_failed_step_before_a_member_holds_the_chord_up(resolve):
    body = total().on_error(probe.note_error.s())
    result = chord([chain(probe.fails_until_asked.s(1), add(1)), add(2, 2)], body).delay()
    run_all()
    failed = Job.objects.get(state=State.FAILED)
    assert (Chord.objects.get().state, errbacks().count()) == (ChordState.RESTING, 1)

    if resolve == "retry":
        retry_job(command_actor(), failed.pk, kwargs={"works": True})
    else:
        discard_job(command_actor(), failed.pk)

    run_all()
    assert value_of(result) == (6 if resolve == "retry" else 4)


def test_a_failure_inside_an_inner_chord_rests_the_outer_one_too_and_a_retry_wakes_both():
    inner = chord([probe.fails_until_asked.s(1), add(1, 1)], total().on_error(probe.note_error.s()))
    outer = chord([chain(inner, add(1)), add(2, 2)], total().on_error(probe.note_error.s()))
    result = outer.delay()
    run_all()
    assert set(Chord.objects.values_list("state", flat=True)) == {ChordState.RESTING}

    retry_job(command_actor(), Job.objects.get(state=State.FAILED).pk, kwargs={"works": True})

    assert set(Chord.objects.values_list("state", flat=True)) == {ChordState.WAITING}
    run_all()
    assert value_of(result) == 8


def test_a_failed_step_of_a_chain_is_retried_and_the_rest_goes_on():
    last = chain(add(1, 1), probe.fails_until_asked.s(), add(10)).delay()
    run_all()
    failed = Job.objects.get(state=State.FAILED)
    assert not Job.objects.filter(pk=last.id).exists()

    retry_job(command_actor(), failed.pk, kwargs={"works": True})

    run_all()
    assert value_of(last) == 12


def test_nothing_follows_a_success_whose_result_is_not_json():
    chain(probe.not_json.si(), add(1, 1)).delay()

    run_all()

    assert [(job.task, job.state) for job in Job.objects.all()] == [("probe.not_json", State.FAILED)]


def test_nothing_of_a_canvas_is_sent_when_a_part_of_it_is_refused():
    probe.replace_by_refused_group.delay()

    run_all()

    assert [(job.task, job.state) for job in Job.objects.all()] == [("probe.replace_by_refused_group", State.FAILED)]
    assert not Chord.objects.exists()


def test_a_failed_replacement_is_retried_or_discarded_for_the_job_that_it_replaces():
    result = chord([probe.replace_by_failing_chain.s(), add(1, 1)], total()).delay()
    run_all()
    failed = Job.objects.get(state=State.FAILED)
    assert Chord.objects.get().state == ChordState.RESTING

    discard_job(command_actor(), failed.pk)

    run_all()
    assert value_of(result) == 2
    assert not Job.objects.filter(state=State.SCHEDULED).exists()


def test_a_member_that_is_ignored_counts_with_nothing():
    result = chord([probe.ignore.s(), add(1, 1)], probe.listed.s()).delay()

    run_all()

    assert value_of(result) == [None, 2]


def test_an_errback_that_runs_inside_the_finish_may_fail_in_postgres():
    sent = probe.boom.apply_async(link_error=[probe.bad_errback.s(), probe.note_error.s()])

    run_all()

    assert Job.objects.get(pk=sent.id).state == State.FAILED
    assert errbacks().count() == 1


def test_a_body_that_cannot_be_sent_is_shown_as_broken(monkeypatch):
    body = probe.listed.s().on_error(probe.note_error.s())
    chord([probe.echo_back.s("x" * 900), probe.echo_back.s("y" * 900)], body).delay()
    monkeypatch.setattr("jobs.ledger.records.MAX_CANVAS_BYTES", 1500)

    run_all()

    found = Chord.objects.get()
    assert (found.state, errbacks().count()) == (ChordState.BROKEN, 1)
    assert "bytes" in found.error
    assert Job.objects.filter(task="probe.echo_back", state=State.SUCCEEDED).count() == 2


def test_a_body_takes_more_than_a_sender_may_send():
    result = chord([probe.echo_back.s("x" * 300_000) for _ in range(4)], probe.listed.s()).delay()

    run_all()

    assert len(value_of(result)) == 4


def test_an_errback_that_cannot_be_called_keeps_nobody_from_ending():
    body = total().on_error(probe.note_error.s("one argument too many"))
    chord([probe.boom.s().on_error(probe.note_error.s("too")), add(1, 1)], body).delay()

    run_all()

    assert Chord.objects.get().state == ChordState.RESTING
    assert set(Job.objects.values_list("state", flat=True)) == {State.FAILED, State.SUCCEEDED}


def test_a_chord_that_a_foreign_client_wrote_down_is_taken_over():
    result = chord([add(1, 1), add(2, 2)], total()).delay()
    leaves = Chord.objects.get().leaves
    Chord.objects.all().delete()
    ChordCounter.objects.create(
        group_id=result.parent.id, count=1, sub_tasks=f'[[["{leaves[0]}", null], null], [["{leaves[1]}", null], null]]'
    )

    run_all()

    assert value_of(result) == 6
    assert not ChordCounter.objects.exists()


def test_what_an_open_chord_needs_outlives_its_retention():
    result = chord([add(1, 1), chain(probe.fails_until_asked.s(1), add(1))], total()).delay()
    run_all()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_job SET finished_at = finished_at - interval '400 days'")
        cursor.execute("UPDATE django_celery_results_taskresult SET date_done = date_done - interval '400 days'")

    retention.clean_up()

    assert (Job.objects.count(), TaskResult.objects.filter(status="SUCCESS").count()) == (2, 1)
    retry_job(command_actor(), Job.objects.get(state=State.FAILED).pk, kwargs={"works": True})
    run_all()
    assert value_of(result) == 4
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_job SET finished_at = finished_at - interval '400 days'")
        cursor.execute("UPDATE jobs_chord SET finished_at = finished_at - interval '400 days'")
    retention.clean_up()
    assert (Job.objects.count(), Chord.objects.count()) == (0, 0)


def test_celery_sends_a_canvas_by_the_methods_that_are_made_atomic():
    from celery.canvas import _chord

    assert group.apply_async.is_atomic
    assert _chord.run.is_atomic
    assert current_app.backend.apply_chord.__func__.__module__ == "jobs.ledger.backend"
