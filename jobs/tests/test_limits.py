"""What limits and pauses let through: counted by Postgres, in turn between keys, whatever crashed before."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from jobs.ledger import pauses, states
from jobs.ledger.admission import Admitted, admit
from jobs.ledger.errors import JobRefused
from jobs.ledger.limits import hold, reasons_to_wait
from jobs.ledger.records import Message, record_of
from jobs.models import AuditEntry, Job, Limit, Slot, State
from jobs.operators.actors import command_actor
from jobs.operators.limits import LimitRefused, pause, resume, set_limits
from jobs.tests.factories import make_attempt, make_job
from jobs.tests.test_states import _claim_values

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_limits(db: None) -> None:
    Limit.objects.all().delete()


def held(count: int = 1, **fields: Any) -> list[Job]:
    """Held jobs, the first the longest due."""
    due = timezone.now() - timedelta(seconds=100)
    return [make_job(held=True, run_at=due + timedelta(seconds=n), **fields) for n in range(count)]


def let_through(**options: Any) -> Admitted:
    with transaction.atomic(), connection.cursor() as cursor:
        admitted = admit(cursor, **options)
        # Of its own transaction, and here of the whole test's, which the machine may hold up for longer.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        return admitted


def claim(job: Job) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(states.CLAIM, _claim_values(job))
        return bool(cursor.fetchall())


def finish(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED, claim_id=None, finished_at=timezone.now())


def limit(scope: str = "queue", name: str = "default", **numbers: Any) -> None:
    set_limits(command_actor(), scope, name, numbers)


def slots() -> list[str]:
    return list(Slot.objects.filter(ended=False).order_by("id").values_list("job_id", flat=True))


# --- concurrency ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [("queue", "default"), ("task", "selftest.echo"), ("everything", "")])
def test_as_many_are_let_through_as_may_run_at_once(scope: tuple[str, str]) -> None:
    limit(*scope, concurrency=2)
    jobs = held(5)

    assert let_through().ids == [jobs[0].pk, jobs[1].pk]
    assert let_through().ids == []
    assert claim(jobs[0])
    assert let_through().ids == []
    finish(jobs[0])
    assert let_through().ids == [jobs[2].pk]


def test_a_limit_of_one_queue_does_not_hold_another() -> None:
    limit("queue", "slow_lane", concurrency=1)

    assert claim(make_job())
    assert not claim(make_job(queue="slow_lane"))


def test_what_runs_when_a_limit_is_made_counts() -> None:
    running = make_job(State.RUNNING)
    limit(concurrency=2)
    jobs = held(3)

    assert let_through().ids == [jobs[0].pk]
    finish(running)
    assert let_through().ids == [jobs[1].pk]


def test_the_narrowest_of_several_limits_decides() -> None:
    limit("everything", "", concurrency=10)
    limit("queue", "default", concurrency=3)
    limit("task", "selftest.sleep", concurrency=1)
    sleeps, echoes = held(3, task="selftest.sleep"), held(5)

    ids = let_through().ids

    assert len(ids) == 3
    assert len(set(ids) & {job.pk for job in sleeps}) <= 1
    assert len(set(ids) & {job.pk for job in echoes}) >= 2


@pytest.mark.parametrize(
    "moved",
    [
        {"state": State.QUEUED, "attempt": 1, "claim_id": None},  # rescued: its next run needs a slot of its own
        {"state": State.SCHEDULED, "attempt": 1, "claim_id": None},  # waits for its next attempt
        {"state": State.FAILED, "attempt": 1, "claim_id": None, "finished_at": timezone.now()},
    ],
    ids=["rescued", "retried", "failed"],
)
def test_a_slot_is_free_as_soon_as_its_run_is_over_however_it_ended(moved: dict[str, Any]) -> None:
    limit(concurrency=1)
    first, second = held(2)
    let_through()
    assert claim(first)
    assert let_through().ids == []

    Job.objects.filter(pk=first.pk).update(**moved)

    assert let_through().ids == [second.pk]
    assert slots() == [second.pk]
    assert not claim(first)


def test_the_most_urgent_goes_first_then_the_longest_due() -> None:
    limit(concurrency=2)
    old, _ = held(2, priority=5)
    (urgent,) = held(1, priority=9)

    assert set(let_through().ids) == {urgent.pk, old.pk}


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_flood_of_one_key_does_not_keep_the_others_waiting() -> None:
    limit(concurrency=1)
    flood = held(30, limit_key="a", priority=9)
    (other,) = held(1, limit_key="b", priority=0)
    turns = []
    for _ in range(4):
        (job_id,) = let_through().ids
        turns.append(job_id)
        finish(Job.objects.get(pk=job_id))

    assert turns[1] == other.pk
    assert [turns[0], *turns[2:]] == [job.pk for job in flood[:3]]


def test_keys_take_turns_within_one_round_too() -> None:
    limit(concurrency=6)
    for key in ("a", "b", "c"):
        held(20, limit_key=key)

    ids = let_through().ids

    keys = Job.objects.filter(pk__in=ids).values_list("limit_key", flat=True)
    assert sorted(map(str, keys)) == ["a", "a", "b", "b", "c", "c"]


def test_a_limit_per_key_leaves_other_keys_and_jobs_without_a_key_alone() -> None:
    limit(key_concurrency=1)
    held(5, limit_key="a")
    held(2, limit_key="b")
    without = held(3)

    ids = let_through().ids

    keys = list(Job.objects.filter(pk__in=ids).values_list("limit_key", flat=True))
    assert sorted(key for key in keys if key) == ["a", "b"]
    assert {job.pk for job in without} <= set(ids)
    assert let_through().ids == []


def test_a_key_comes_from_the_task_or_the_sender() -> None:
    def key_of(task: str, args: list[Any], **headers: Any) -> str | None:
        message = Message(task, {"id": "x", **headers}, (args, {}, {}), "default")
        return record_of(message, origin="code").limit_key

    assert key_of("probe.limited", [0.1, "a"]) == "key:a"
    assert key_of("probe.limited", [0.1, "a"], limit_key="mine") == "mine"
    assert key_of("probe.limited", [0.1, None]) is None
    assert key_of("selftest.echo", [1]) is None
    with pytest.raises(JobRefused, match="255"):
        key_of("selftest.echo", [1], limit_key="k" * 256)
    with pytest.raises(JobRefused, match="limit key of probe"):
        key_of("probe.limited", [1, 2, 3, 4])


# --- rates ----------------------------------------------------------------------------------------------------------


def _began(job: Job, seconds_ago: float) -> None:
    """Claimed so long ago, and finished since."""
    assert claim(job)
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(seconds=seconds_ago))
    finish(job)


def test_no_more_begin_within_any_period_than_the_rate_says() -> None:
    limit(rate=2, rate_seconds=60)
    jobs = held(4)

    assert let_through().ids == [jobs[0].pk, jobs[1].pk]
    _began(jobs[0], 20)
    assert let_through().ids == []
    # What was let through counts from its start, however long its message was on the way.
    Slot.objects.filter(job_id=jobs[1].pk).update(admitted_at=timezone.now() - timedelta(hours=1))
    assert let_through().ids == []
    Slot.objects.filter(job_id=jobs[0].pk).update(started_at=timezone.now() - timedelta(seconds=61))
    assert let_through().ids == [jobs[2].pk]


def test_a_rate_counts_starts_long_ago_for_nothing_and_keeps_no_more_than_a_period() -> None:
    limit(rate=1, rate_seconds=60)
    first, second = held(2)
    let_through()
    _began(first, 61)

    assert let_through().ids == [second.pk]
    assert list(Slot.objects.values_list("job_id", flat=True)) == [second.pk]


def test_each_run_of_a_job_counts_for_a_rate() -> None:
    limit(rate=2, rate_seconds=60)
    (job,) = held(1)
    let_through()
    assert claim(job)
    make_attempt(job, 1, started_at=timezone.now())
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED, claim_id=None, held=True)
    assert let_through().ids == [job.pk]
    assert claim(job)

    held(1)
    assert let_through().ids == []


# --- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [("queue", "default"), ("task", "selftest.echo"), ("everything", "")])
def test_what_is_paused_does_not_start_though_its_message_was_sent_before(scope: tuple[str, str]) -> None:
    sent = make_job(sent_at=timezone.now())
    pause(command_actor(), *scope, reason="the far side is down")

    assert not claim(sent)
    with connection.cursor() as cursor:
        assert hold(cursor, [sent.pk]) == [sent.pk]
    waiting = Job.objects.get(pk=sent.pk)
    assert (waiting.held, waiting.sent_at) == (True, None)
    assert "the far side is down" in reasons_to_wait(waiting)[0]
    assert let_through().ids == []
    resume(command_actor(), *scope)
    assert let_through().ids == [sent.pk]
    assert claim(sent)
    assert not Slot.objects.exists()


def test_what_runs_goes_on_when_its_queue_is_paused() -> None:
    running = make_job(State.RUNNING)
    pause(command_actor(), "queue", "default")

    with connection.cursor() as cursor:
        assert hold(cursor, [running.pk]) == []
    assert Job.objects.get(pk=running.pk).state == State.RUNNING


def test_a_pause_ends_by_itself_and_says_so() -> None:
    (job,) = held(1)
    pause(command_actor(), "queue", "default", for_seconds=600)
    assert let_through().ids == []

    # Before this transaction began, whose start is "now" here.
    Limit.objects.filter(name="default").update(resume_at=timezone.now() - timedelta(hours=1))

    with connection.cursor() as cursor:
        Limit.objects.filter(scope="everything").update(look_at=timezone.now() - timedelta(hours=1))
        assert states.look(cursor, 1.0).is_anything_held
    assert let_through().ids == [job.pk]
    assert Limit.objects.get(name="default").paused_at is None
    assert list(AuditEntry.objects.values_list("action", "target", "actor"))[-1] == (
        "limit.resume",
        "queue default",
        "switchyard",
    )


def test_a_paused_queue_leaves_the_others_and_their_order_alone() -> None:
    pause(command_actor(), "task", "selftest.sleep")
    limit(concurrency=1)
    held(50, task="selftest.sleep", priority=9)
    (echo,) = held(1)

    assert let_through().ids == [echo.pk]


# --- edits ----------------------------------------------------------------------------------------------------------


def test_a_smaller_limit_takes_back_what_has_not_begun() -> None:
    limit(concurrency=4)
    jobs = held(4)
    let_through()
    assert claim(jobs[0])

    limit(concurrency=1)

    assert slots() == [jobs[0].pk]
    assert not claim(jobs[1])
    assert let_through().ids == []
    finish(jobs[0])
    assert let_through().ids == [jobs[1].pk]


def test_without_its_limit_everything_held_is_released() -> None:
    limit(concurrency=1)
    jobs = held(5)
    let_through()

    limit(concurrency=None)

    assert set(let_through().ids) == {job.pk for job in jobs[1:]} | {jobs[0].pk}
    assert not Job.objects.filter(held=True).exists()
    assert not Slot.objects.exists()


def test_an_edit_that_changes_nothing_takes_nothing_back_and_is_not_recorded() -> None:
    limit(concurrency=1)
    (job,) = held(1)
    let_through()

    limit(concurrency=1)

    assert slots() == [job.pk]
    assert AuditEntry.objects.filter(action="limit.change").count() == 1


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"concurrency": 0}, "concurrency '0' is not a whole number from 1 to 100,000; to let nothing start, pause it"),
        ({"rate": True}, "rate 'True'"),
        ({"rate": 2.5}, "rate '2.5'"),
        ({"rate_seconds": None}, "rate_seconds 'None'"),
        ({"rate_seconds": 10**9}, "rate_seconds"),
        ({"speed": 1}, "speed is no limit; choose from: concurrency"),
    ],
)
def test_a_number_that_is_none_is_named(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(LimitRefused, match=said):
        limit(**numbers)
    assert not Limit.objects.exists()


# --- looking --------------------------------------------------------------------------------------------------------


def test_dispatchers_look_only_while_something_is_held_and_only_now_and_then() -> None:
    with connection.cursor() as cursor:
        assert not states.look(cursor, 1.0).is_anything_held
        held(1)
        pause(command_actor(), "queue", "default")
        assert states.look(cursor, 1.0).is_anything_held
        let_through(only_if_due=True)
        assert not states.look(cursor, 1.0).is_anything_held


def test_a_row_that_may_not_start_is_told_from_one_that_may() -> None:
    limit("queue", "slow_lane", concurrency=1)
    free = make_job(run_at=timezone.now() - timedelta(seconds=10))
    blocked = make_job(queue="slow_lane", run_at=timezone.now() - timedelta(seconds=10))

    with transaction.atomic(), connection.cursor() as cursor:
        rows = states.lock_owed(cursor, promoted=[], limit=10, grace_seconds=1)

    assert {row["id"]: row["is_blocked"] for row in rows} == {free.pk: False, blocked.pk: True}


def test_a_job_that_waits_says_for_what() -> None:
    limit("queue", "default", concurrency=1, rate=5, rate_seconds=60)
    pause(command_actor(), "everything", for_seconds=60)
    first, second = held(2)
    assert len(reasons_to_wait(second)) == 2
    resume(command_actor(), "everything")
    let_through()

    assert reasons_to_wait(Job.objects.get(pk=first.pk)) == []
    assert reasons_to_wait(second) == ["queue default: 1 running at once, 5 started a minute"]


def test_a_paused_flood_is_not_read_by_those_who_look(count_reads: Callable[[], int]) -> None:
    pause(command_actor(), "task", "selftest.sleep")
    limit("queue", "default", concurrency=1)
    due = timezone.now()
    Job.objects.bulk_create(
        Job(id=f"flood-{n}", task="selftest.sleep", queue="default", held=True, run_at=due, created_at=due)
        for n in range(3_000)
    )
    (echo,) = held(1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_job")  # else it is planned for what autovacuum happened to see last
    before = count_reads()

    assert let_through().ids == [echo.pk]

    assert count_reads() - before < 200


@pytest.fixture
def count_reads() -> Callable[[], int]:
    """Rows of jobs that this transaction has read."""

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
                WHERE relname = 'jobs_job'
                """
            )
            return int(cursor.fetchone()[0])

    return count


def test_messages_of_what_is_paused_are_turned_away_and_their_jobs_held_or_sent_again() -> None:
    pauses.note_paused(["queue:default", "task:selftest.sleep"])
    paused, resumed = make_job(sent_at=timezone.now()), make_job(sent_at=timezone.now(), queue="slow_lane")
    pause(command_actor(), "queue", "default")

    assert pauses.turn_away(paused.pk, "default", "selftest.echo")
    assert pauses.turn_away(resumed.pk, "slow_lane", "selftest.sleep")
    assert not pauses.turn_away("x", "slow_lane", "selftest.echo")
    pauses.note_paused([])
    assert not pauses.turn_away("x", "default", "selftest.echo")
    pauses.hold_turned_away(connection)  # type: ignore[arg-type]  # Django's connection does as well

    assert Job.objects.get(pk=paused.pk).held
    again = Job.objects.get(pk=resumed.pk)
    assert (again.held, again.sent_at) == (False, None)
