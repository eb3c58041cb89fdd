"""What a unique key means, and that it holds whatever races what."""

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from jobs import job
from jobs.ledger import states
from jobs.ledger.errors import JobRefused
from jobs.models import Job, JobEvent, Outcome, State
from jobs.models.job import UNFINISHED
from jobs.operators.actors import command_actor
from jobs.operators.jobs import JobNotChanged, retry_job
from jobs.retention import clean_up
from jobs.tests import probe_tasks as probe
from jobs.tests.factories import make_job
from jobs.unique_options import UniqueOptions

pytestmark = pytest.mark.django_db(transaction=True)


def claim(job_id: str) -> bool:
    """Take a job as a worker does."""
    task = Job.objects.get(pk=job_id).task
    values: dict[str, str | int] = {"claim": str(uuid.uuid4()), "worker": "w@h", "pid": 1, "id": job_id, "task": task}
    with connection.cursor() as cursor:
        cursor.execute(states.CLAIM, values)
        return bool(cursor.fetchall())


def finish(job_id: str) -> None:
    with connection.cursor() as cursor:
        row = {"id": job_id, "claim_id": str(Job.objects.get(pk=job_id).claim_id), "keep": False}
        assert states.succeed(cursor, [row])


def hand_back(job_id: str) -> None:
    """running → queued, as a rescue or a drained worker does it."""
    held = Job.objects.get(pk=job_id)
    with connection.cursor() as cursor:
        assert states.end_attempt(
            cursor, job_id, str(held.claim_id), state=State.QUEUED, outcome=Outcome.HANDED_BACK, is_counted=False
        )


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run each call in a thread of its own, started together. Returns what they returned; raises what they raised."""
    start = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        try:
            start.wait()
            answers[number] = call()
        except BaseException as exc:
            answers[number] = exc
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


@pytest.fixture
def blocked() -> Callable[..., None]:
    """`blocked(n)`: wait until n statements of this database wait for a lock."""
    pause = threading.Event()

    def wait(count: int) -> None:
        for _ in range(5_000):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock'"
                )
                if cursor.fetchall()[0][0] >= count:
                    return
            pause.wait(0.02)
        raise AssertionError(f"{count} statements should wait for a lock")

    return wait


# How long a key is held


def test_a_key_is_held_while_its_job_is_unfinished_by_default():
    first = probe.unique.delay(5)
    assert claim(first.id)
    during = probe.unique.delay(5)
    finish(first.id)
    after = probe.unique.delay(5)

    assert (during.id, during.folded) == (first.id, True)
    assert (after.id != first.id, after.folded) == (True, False)


def test_a_key_while_queued_is_given_up_when_the_run_begins():
    first = probe.unique_queued.delay("a")
    second = probe.unique_queued.delay("a")
    assert claim(first.id)
    third = probe.unique_queued.delay("a")
    fourth = probe.unique_queued.delay("a")

    assert (second.id, second.folded) == (first.id, True)
    assert (third.id != first.id, third.folded) == (True, False)
    assert (fourth.id, fourth.folded) == (third.id, True)


@pytest.mark.parametrize("back", ["handed back", "retried after a delay"])
def test_a_run_that_goes_back_to_waiting_does_not_meet_the_newer_job_of_its_key(back):
    older = probe.unique_queued.delay("a")
    assert claim(older.id)
    newer = probe.unique_queued.delay("a")

    held = Job.objects.get(pk=older.id)
    state = State.QUEUED if back == "handed back" else State.SCHEDULED
    with connection.cursor() as cursor:
        assert states.end_attempt(
            cursor, older.id, str(held.claim_id), state=state, outcome=Outcome.FAILED, delay_seconds=0.0
        )

    assert Job.objects.filter(pk__in=[older.id, newer.id], state__in=("queued", "scheduled")).count() == 2
    assert probe.unique_queued.delay("a").id == newer.id


def test_a_key_for_a_period_outlives_the_job_that_succeeded():
    first = probe.unique_period.delay("a")
    assert claim(first.id)
    finish(first.id)
    within = probe.unique_period.delay("a")
    Job.objects.filter(pk=first.id).update(unique_until=timezone.now() - timedelta(seconds=1))
    after = probe.unique_period.delay("a")
    again = probe.unique_period.delay("a")

    assert (within.id, within.folded) == (first.id, True)
    assert (after.id != first.id, after.folded) == (True, False)
    assert (again.id, again.folded) == (after.id, True)


def test_a_key_for_a_period_is_held_while_the_job_is_unfinished_however_long_that_takes():
    first = probe.unique_period.delay("a")
    Job.objects.filter(pk=first.id).update(unique_until=timezone.now() - timedelta(seconds=1))

    assert probe.unique_period.delay("a").id == first.id


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.DISCARDED])
def test_a_job_that_did_not_succeed_gives_its_key_up_before_the_period_is_over(state):
    first = probe.unique_period.delay("a")
    Job.objects.filter(pk=first.id).update(state=state, finished_at=timezone.now())

    assert probe.unique_period.delay("a").id != first.id


def test_a_job_is_not_pruned_while_it_holds_its_key():
    long_ago = timezone.now() - timedelta(days=4000)
    rows = {
        kind: make_job(State.SUCCEEDED, unique_key=kind, finished_at=long_ago, unique_until=until)
        for kind, until in {
            "held": timezone.now() + timedelta(days=1),
            "elapsed": timezone.now() - timedelta(days=1),
            "none": None,
        }.items()
    }
    clean_up()

    assert list(Job.objects.filter(pk__in=[row.pk for row in rows.values()])) == [rows["held"]]


def test_a_lookup_of_a_key_uses_the_indexes_of_held_keys():
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT id FROM jobs_job WHERE unique_key = %s AND NOT key_released AND "
            "(state IN ('scheduled', 'queued', 'running') OR (state = 'succeeded' AND unique_until IS NOT NULL))",
            ["a"],
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "job_unique_key_held" in plan


# Operators


def test_a_retry_is_refused_while_another_job_holds_the_key_and_names_it():
    older = probe.unique_queued.delay("a")
    assert claim(older.id)
    Job.objects.filter(pk=older.id).update(state=State.FAILED, finished_at=timezone.now(), claim_id=None)
    newer = probe.unique_queued.delay("a")

    with pytest.raises(JobNotChanged, match=newer.id):
        retry_job(command_actor(), older.id)


def test_a_retried_job_holds_its_key_again():
    older = probe.unique_queued.delay("a")
    assert claim(older.id)
    Job.objects.filter(pk=older.id).update(state=State.FAILED, finished_at=timezone.now(), claim_id=None)
    retry_job(command_actor(), older.id)

    assert probe.unique_queued.delay("a").id == older.id


def test_a_retry_is_refused_within_the_period_of_a_job_that_succeeded_and_allowed_after_it():
    failed = probe.unique_period.delay("a")
    Job.objects.filter(pk=failed.id).update(state=State.FAILED, finished_at=timezone.now())
    done = probe.unique_period.delay("a")
    assert claim(done.id)
    finish(done.id)

    with pytest.raises(JobNotChanged, match=f"{done.id} .succeeded"):
        retry_job(command_actor(), failed.id)

    Job.objects.filter(pk=done.id).update(unique_until=timezone.now())
    assert retry_job(command_actor(), failed.id).state == State.QUEUED


# Debounce


def test_a_debounced_job_takes_the_newest_arguments_and_starts_after_the_last_send():
    first = probe.debounced.delay("a", 1)
    before = Job.objects.get(pk=first.id)
    last = [probe.debounced.delay("a", value) for value in (2, 3)][-1]

    after = Job.objects.get(pk=first.id)
    assert (last.id, last.folded) == (first.id, True)
    assert (before.state, after.state, after.args) == (State.SCHEDULED, State.SCHEDULED, ["a", 3])
    assert before.run_at < after.run_at <= before.debounce_by == after.debounce_by
    assert Job.objects.count() == 1


def test_a_debounced_job_is_owed_at_the_end_of_the_longest_wait_whatever_still_comes():
    first = probe.debounced.delay("a", 1)
    Job.objects.filter(pk=first.id).update(debounce_by=timezone.now())
    probe.debounced.delay("a", 2)

    after = Job.objects.get(pk=first.id)
    assert (after.state, after.args) == (State.QUEUED, ["a", 2])


def test_a_debounced_job_whose_message_is_under_way_waits_again_and_runs_with_the_newest_arguments():
    first = probe.debounced.delay("a", 1)
    Job.objects.filter(pk=first.id).update(state=State.QUEUED, sent_at=timezone.now(), run_at=timezone.now())
    probe.debounced.delay("a", 2)

    assert not claim(first.id)
    after = Job.objects.get(pk=first.id)
    assert (after.state, after.sent_at, after.args) == (State.SCHEDULED, None, ["a", 2])
    assert after.headers["edited"] == 1


def test_a_debounced_send_that_comes_after_the_claim_makes_a_new_job():
    first = probe.debounced.delay("a", 1)
    Job.objects.filter(pk=first.id).update(state=State.QUEUED, run_at=timezone.now())
    assert claim(first.id)
    second = probe.debounced.delay("a", 2)

    assert second.folded is False
    assert list(Job.objects.filter(state=State.SCHEDULED).values_list("pk", "args")) == [(second.id, ["a", 2])]
    assert Job.objects.get(pk=first.id).args == ["a", 1]


def test_a_debounced_send_that_asks_for_a_later_start_gets_it_within_the_longest_wait():
    first = probe.debounced.apply_async(("a", 1), countdown=3)
    began = Job.objects.get(pk=first.id).created_at
    probe.debounced.apply_async(("a", 2), countdown=4)

    assert timedelta(seconds=4) <= Job.objects.get(pk=first.id).run_at - began <= timedelta(seconds=5)


def test_a_job_is_claimed_after_the_sender_who_was_folded_into_it_has_committed(blocked):
    """Claimed before, it would not see what the sender wrote, and the send would be lost."""
    first = probe.unique_queued.delay("a")
    folded, may_commit, seen = threading.Event(), threading.Event(), []

    def send() -> None:
        with transaction.atomic():
            assert probe.unique_queued.delay("a").id == first.id
            make_job(id="written by the sender")
            folded.set()
            may_commit.wait(120)

    def take() -> None:
        folded.wait(120)
        assert claim(first.id)
        seen.append(Job.objects.filter(pk="written by the sender").exists())

    def release() -> None:
        folded.wait(120)
        try:
            blocked(1)
        finally:
            may_commit.set()

    at_once(send, take, release)
    assert seen == [True]


# Superseding


def test_a_newer_job_takes_the_place_of_one_that_waits():
    older = probe.superseding.delay("a")
    newer = probe.superseding.delay("a")

    row = Job.objects.get(pk=older.id)
    assert (row.state, row.reason) == (State.DISCARDED, f"superseded by job {newer.id}")
    assert (newer.id != older.id, newer.folded) == (True, False)
    assert Job.objects.get(pk=newer.id).state == State.QUEUED
    event = JobEvent.objects.get(job_id=older.id, kind="superseded")
    assert event.detail == {"by": newer.id}


def test_a_newer_job_asks_those_that_run_to_stop_and_waits_beside_them():
    first = probe.superseding.delay("a")
    assert claim(first.id)
    second = probe.superseding.delay("a")
    assert claim(second.id)
    third = probe.superseding.delay("a")

    for older, newer in ((first, third), (second, third)):
        row = Job.objects.get(pk=older.id)
        assert (row.state, row.cancel_requested_at is not None) == (State.RUNNING, True)
        assert row.reason == f"superseded by job {newer.id}"
    assert Job.objects.get(pk=third.id).state == State.QUEUED
    hand_back(first.id)


def test_superseding_happens_if_and_only_if_the_sender_commits():
    waiting, running = probe.superseding.delay("a"), probe.superseding.delay("b")
    assert claim(running.id)
    with transaction.atomic():
        probe.superseding.delay("a")
        probe.superseding.delay("b")
        transaction.set_rollback(True)

    assert Job.objects.get(pk=waiting.id).state == State.QUEUED
    row = Job.objects.get(pk=running.id)
    assert (row.state, row.cancel_requested_at, row.key_released) == (State.RUNNING, None, False)
    assert Job.objects.count() == 2


def test_the_same_job_sent_again_supersedes_nothing():
    older = probe.superseding.delay("a")
    newer = probe.superseding.delay("a")
    probe.superseding.apply_async(("a",), task_id=older.id)
    probe.superseding.apply_async(("a",), task_id=newer.id)

    assert Job.objects.get(pk=older.id).state == State.DISCARDED
    assert Job.objects.get(pk=newer.id).state == State.QUEUED


def test_a_job_of_another_task_with_the_same_key_is_neither_stopped_nor_changed():
    other = probe.add.apply_async((1, 2), headers={"unique_key": "superseding:a"}, countdown=60)
    folded = probe.superseding.delay("a")
    late = probe.debounced.apply_async(("a", 1), headers={"unique_key": "superseding:a"})

    assert (folded.id, folded.folded, late.id) == (other.id, True, other.id)
    row = Job.objects.get(pk=other.id)
    assert (row.state, row.args) == (State.SCHEDULED, [1, 2])


# Who learns of it


def test_folded_sends_are_counted_in_one_event_that_names_the_last_sender():
    first = probe.unique.delay(5)
    for _ in range(3):
        probe.unique.delay(5)

    event = JobEvent.objects.get(job_id=first.id, kind="folded")
    assert (event.detail["count"], event.detail["by"]) == (3, "code")
    assert event.text.startswith("3 newer sends of its key were folded in, the last at ")


def test_a_send_that_is_rolled_back_is_not_counted():
    first = probe.unique.delay(5)
    with transaction.atomic():
        assert probe.unique.delay(5).id == first.id
        transaction.set_rollback(True)

    assert not JobEvent.objects.exists()


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unique_while": "running"}, "unique_while 'running' is unknown; choose from: unfinished, queued"),
        ({"unique_for_seconds": 0}, "unique_for_seconds 0 is outside"),
        ({"unique_for_seconds": float("nan")}, "unique_for_seconds nan is outside"),
        ({"debounce_seconds": True}, "debounce_seconds True is not a number"),
        ({"debounce_seconds": 1, "supersede": True}, "debounce_seconds and supersede exclude each other"),
        ({"unique_for_seconds": 1, "debounce_seconds": 1}, "exclude each other"),
        ({"unique_for_seconds": 1, "unique_while": "queued"}, 'needs unique_while="unfinished"'),
        ({"debounce_seconds": 1, "unique_while": "unfinished"}, 'needs unique_while="queued"'),
        ({"debounce_max_seconds": 1}, "debounce_max_seconds needs debounce_seconds"),
        ({"debounce_seconds": 5, "debounce_max_seconds": 1}, "less than debounce_seconds"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        job(unique=str, **options)
    with pytest.raises(JobRefused, match=said):
        probe.add.apply_async((1, 1), headers={"unique_key": "k", "unique_options": options})


def test_options_without_a_key_are_refused():
    with pytest.raises(ValueError, match="need unique="):
        job(supersede=True)
    with pytest.raises(JobRefused, match="unique_key is missing"):
        probe.unique.apply_async((1,), headers={"unique_options": {"supersede": True}})


@pytest.mark.parametrize("options", [["supersede"], "queued", {"for": 1}, {"unique_while": 3}, {"supersede": "yes"}])
def test_odd_options_from_outside_are_refused(options):
    with pytest.raises(JobRefused, match="unique"):
        probe.add.apply_async((1, 1), headers={"unique_key": "k", "unique_options": options})


def test_a_debounce_waits_at_most_ten_times_as_long_by_default():
    assert UniqueOptions(debounce_seconds=3).debounce_max_seconds == 30


# Races


@pytest.mark.parametrize("task", [probe.unique_queued, probe.unique_period])
def test_senders_at_once_make_one_job(task):
    sent = at_once(*[lambda: task.delay("a")] * 8)

    assert len({result.id for result in sent}) == Job.objects.count() == 1
    assert sorted(result.folded for result in sent) == [False] + [True] * 7
    assert JobEvent.objects.get().detail["count"] == 7


def test_bulk_senders_at_once_make_one_job_a_key():
    def send_all() -> list[str]:
        with transaction.atomic():
            return [probe.unique.delay(number).id for number in range(20)]

    answers = at_once(*[send_all] * 6)

    assert all(answer == answers[0] for answer in answers)
    assert Job.objects.count() == 20


def test_a_sender_whose_rival_rolls_back_makes_the_job_itself(blocked):
    inserted, may_end = threading.Event(), threading.Event()

    def roll_back() -> str:
        with transaction.atomic():
            sent = probe.unique.delay(5)
            inserted.set()
            may_end.wait(120)
            transaction.set_rollback(True)
        return sent.id

    def send() -> str:
        inserted.wait(120)
        return probe.unique.delay(5).id

    def release() -> None:
        inserted.wait(120)
        try:
            blocked(1)
        finally:
            may_end.set()

    gone, made, _ = at_once(roll_back, send, release)
    assert made != gone
    assert list(Job.objects.values_list("pk", flat=True)) == [made]


def test_senders_who_supersede_at_once_leave_one_job_and_no_error():
    sent = at_once(*[lambda: [probe.superseding.delay("a").id for _ in range(5)]] * 6)

    ids = {job_id for answer in sent for job_id in answer}
    assert len(ids) == Job.objects.count() == 30
    left = Job.objects.filter(state__in=UNFINISHED)
    assert left.count() == 1
    assert Job.objects.filter(state=State.DISCARDED, reason__startswith="superseded by job ").count() == 29


@pytest.mark.parametrize("task", [probe.unique_queued, probe.debounced])
def test_the_last_run_sees_what_every_sender_wrote_whatever_sends_raced_with_claims(task):
    done = threading.Event()
    runs: list[int] = []

    def send(sender: int) -> None:
        for number in range(15):
            with transaction.atomic():
                sent = task.delay("a", number)
                JobEvent.objects.create(job_id=sent.id, at=timezone.now(), kind="written", text=f"{sender} {number}")

    def run_waiting() -> None:
        Job.objects.filter(state=State.SCHEDULED).update(state=State.QUEUED, run_at=timezone.now())
        for row in Job.objects.filter(state=State.QUEUED):
            if claim(row.pk):
                runs.append(JobEvent.objects.filter(kind="written").count())
                finish(row.pk)

    def run() -> None:
        while not done.is_set():
            run_waiting()

    def send_all() -> None:
        try:
            at_once(*[lambda sender=sender: send(sender) for sender in range(4)])
        finally:
            done.set()

    at_once(run, send_all)
    assert Job.objects.filter(state__in=UNFINISHED).count() <= 1
    run_waiting()
    assert runs[-1] == 60
    assert len(runs) == Job.objects.count() < 60


def test_a_period_that_is_over_is_released_by_one_of_many_senders():
    old = probe.unique_period.delay("a")
    assert claim(old.id)
    finish(old.id)
    Job.objects.filter(pk=old.id).update(unique_until=timezone.now())
    sent = at_once(*[lambda: probe.unique_period.delay("a").id] * 8)

    assert len(set(sent)) == 1
    assert old.id not in sent


def test_retries_and_senders_at_once_leave_one_holder():
    failed = [make_job(State.FAILED, unique_key="probe:5", task="probe.unique", args=[5]) for _ in range(3)]

    def retry(row: Job) -> str:
        try:
            return retry_job(command_actor(), row.pk).pk
        except JobNotChanged:
            return ""

    def send() -> str:
        return probe.unique.delay(5).id

    answers = at_once(*[lambda row=row: retry(row) for row in failed], send, send)

    assert len(set(answers) - {""}) == 1
    assert Job.objects.filter(state__in=UNFINISHED).count() == 1


def test_postgres_itself_refuses_a_second_holder():
    make_job(State.SUCCEEDED, unique_key="k", unique_until=timezone.now())
    make_job(State.RUNNING, unique_key="free", key_released=True)
    make_job(State.QUEUED, unique_key="free")
    for key in ("k", "free"):
        with pytest.raises(IntegrityError, match="job_unique_key_held"), transaction.atomic():
            make_job(State.QUEUED, unique_key=key)
