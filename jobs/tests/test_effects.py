"""Effects against a far side that dies or freezes at every step; its own log is the judge."""

import http.client
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from jobs import effects
from jobs.effects import protocol, trying
from jobs.effects.http import UnclearAnswer
from jobs.effects.selftest import is_known, post_once
from jobs.ledger import connection as ledger_connection
from jobs.ledger import effects as store
from jobs.ledger import lease
from jobs.ledger.errors import JobMovedOn, Snooze
from jobs.ledger.run import Run, set_current
from jobs.models import Effect, EffectState, Job, State
from jobs.registry import NO_POLICY
from jobs.tests.factories import make_job
from jobs.tests.far_side import STEPS, FarSide

#: Of a try that is answered, or cut off: a guard, for else a pause of this process would cut it off, too.
PATIENT_SECONDS = 60.0
EXPECTED = (OSError, http.client.HTTPException, effects.EffectUnknown, effects.NotDone, UnclearAnswer, Snooze)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short waits; and no connection is left open on the test database."""
    monkeypatch.setattr(protocol, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(protocol, "LEAST_SECONDS", 0.1)
    yield
    set_current(None)
    ledger_connection.effects().close()


@pytest.fixture
def far_side() -> Iterator[FarSide]:
    server = FarSide()
    yield server
    server.close()


def poster(far_side: FarSide, key: str) -> Callable[[effects.Try], Any]:
    url = far_side.url

    def call(attempt: effects.Try) -> Any:
        answer = effects.post(attempt, url, json.dumps({"key": key}).encode())
        return {"status": answer.status}

    return call


def looker(far_side: FarSide, key: str) -> Callable[[str], Any]:
    return lambda identity: {"found": key} if is_known(far_side.lookup_url, key, ["127.0.0.1"]) else None


def run_to_its_end(key: str, call: Callable[[effects.Try], Any], **options: Any) -> Any:
    """What a job with enough attempts would do, with time passing between them. Returns the receipt, or "uncertain"."""
    options = {"timeout_seconds": PATIENT_SECONDS, **options}
    for _ in range(8):
        try:
            return effects.once(key, call, kind="test", **options)
        except effects.EffectUncertain:
            return "uncertain"
        except EXPECTED:
            let_the_deadline_pass(key)
    raise AssertionError(f"{key} came to no end")


def seconds_for(step: str) -> float:
    """How long a try may take that meets this step: a far side that freezes is waited for to the end."""
    return 0.5 if step.startswith("freeze") else PATIENT_SECONDS


def let_the_deadline_pass(key: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_effect SET deadline_at = clock_timestamp() - interval '1 ms' WHERE state = 'tried' "
            "AND key = %s",
            [key],
        )


def state_of(key: str) -> Effect:
    return Effect.objects.get(key=key)


# --- At every step ---------------------------------------------------------------------------------------------------


def test_with_a_look_up_each_step_of_the_far_sides_death_ends_in_one_copy(far_side: FarSide) -> None:
    for step in STEPS:
        far_side.steps = [step]
        options = {"look_up": looker(far_side, step), "timeout_seconds": seconds_for(step)}
        receipt = run_to_its_end(step, poster(far_side, step), **options)
        assert receipt != "uncertain", step

    assert sorted(far_side.carried_out) == sorted(STEPS)
    assert set(Effect.objects.values_list("state", flat=True)) == {EffectState.DONE}


def test_two_bad_steps_in_a_row_end_in_one_copy(far_side: FarSide) -> None:
    quick = [step for step in STEPS if not step.startswith("freeze")]
    for first in quick:
        for second in quick:
            key = f"{first}, {second}"
            far_side.steps = [first, second]
            run_to_its_end(key, poster(far_side, key), look_up=looker(far_side, key))
            assert far_side.carried_out.count(key) == 1, key
            assert state_of(key).state == EffectState.DONE


def test_without_a_look_up_what_may_have_happened_is_uncertain_and_never_tried_again(far_side: FarSide) -> None:
    for step, happened in STEPS.items():
        far_side.steps = [step]
        outcome = run_to_its_end(step, poster(far_side, step), timeout_seconds=seconds_for(step))
        effect = state_of(step)
        if step in ("refuse", "half a header", "half a body"):  # the far side's answer tells
            assert effect.state == EffectState.DONE, step
            assert far_side.carried_out.count(step) == 1, step
        else:
            assert outcome == "uncertain", step
            assert effect.state == EffectState.UNCERTAIN
            assert far_side.carried_out.count(step) == happened, step


def test_the_same_identity_is_sent_again_where_the_far_side_folds_it(far_side: FarSide) -> None:
    far_side.folds_identities = True
    for step in STEPS:
        far_side.steps = [step, "reset after storing"]
        far_side.identities = []
        run_to_its_end(step, poster(far_side, step), idempotent_seconds=3600, timeout_seconds=seconds_for(step))
        assert far_side.carried_out.count(step) == 1, step
        assert len(set(far_side.identities)) == 1, step


def test_an_identity_that_the_far_side_has_forgotten_is_not_sent_again(far_side: FarSide) -> None:
    far_side.steps = ["reset after storing"]
    with pytest.raises(effects.EffectUnknown):
        effects.once("k", poster(far_side, "k"), kind="test", idempotent_seconds=3600)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_effect SET created_at = created_at - interval '2 hours'")

    assert run_to_its_end("k", poster(far_side, "k"), idempotent_seconds=3600) == "uncertain"
    assert far_side.carried_out == ["k"]


def test_once_more_is_once(far_side: FarSide) -> None:
    far_side.steps = ["reset after storing", "reset after storing"]

    outcome = run_to_its_end("k", poster(far_side, "k"), policy=effects.Uncertain.AGAIN)

    assert outcome == "uncertain"
    assert far_side.carried_out == ["k", "k"]
    assert len(set(far_side.identities)) == 1


def test_a_far_side_that_is_not_there_was_not_asked(far_side: FarSide) -> None:
    call = poster(far_side, "k")
    far_side.close()

    with pytest.raises(ConnectionRefusedError):
        effects.once("k", call, kind="test")

    effect = state_of("k")
    assert effect.state == EffectState.FAILED
    assert "ConnectionRefusedError" in effect.error


def test_nothing_is_tried_while_the_look_up_does_not_answer(far_side: FarSide) -> None:
    far_side.steps = ["reset after storing"]
    far_side.look_up_fails = True
    options: dict[str, Any] = {"kind": "test", "look_up": looker(far_side, "k")}
    for _ in range(3):
        with pytest.raises(effects.EffectUnknown):
            effects.once("k", poster(far_side, "k"), **options)
        let_the_deadline_pass("k")
    far_side.look_up_fails = False

    assert run_to_its_end("k", poster(far_side, "k"), look_up=looker(far_side, "k")) == {"found": "k"}
    assert far_side.carried_out == ["k"]


def test_not_there_must_be_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A far side that thaws carries the old request out while it is asked."""
    asked: list[Any] = []
    calls: list[str] = []

    def look_up(identity: str) -> Any:
        asked.append(identity)
        return {"found": True} if len(asked) == 3 else None

    def call(attempt: effects.Try) -> None:
        calls.append(attempt.identity)
        attempt.check()
        raise TimeoutError("no answer")

    assert run_to_its_end("k", call, look_up=look_up) == {"found": True}
    assert len(calls) == 1


# --- The rules -------------------------------------------------------------------------------------------------------


def test_what_is_done_is_not_called_again(far_side: FarSide) -> None:
    first = effects.once("k", poster(far_side, "k"), kind="test")
    second = effects.once("k", poster(far_side, "k"), kind="test")

    assert first == second == {"status": 201}
    assert far_side.carried_out == ["k"]


def test_the_intent_survives_the_tasks_rollback(far_side: FarSide) -> None:
    with transaction.atomic():
        effects.once("k", poster(far_side, "k"), kind="test")
        transaction.set_rollback(True)

    assert state_of("k").state == EffectState.DONE


def test_the_intent_is_on_disk_before_the_call(far_side: FarSide) -> None:
    seen = []

    def call(attempt: effects.Try) -> None:
        seen.append(state_of("k").state)
        attempt.check()

    effects.once("k", call, kind="test")

    assert seen == [EffectState.TRIED]


def test_nothing_is_sent_after_the_deadline(far_side: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(attempt: effects.Try) -> Any:
        now = trying.clock()
        monkeypatch.setattr(trying, "clock", lambda: now + 2)  # as if it had been frozen here
        return poster(far_side, "k")(attempt)

    with pytest.raises(effects.TooLate):
        effects.once("k", call, kind="test", timeout_seconds=1)

    assert not far_side.received.is_set()
    assert state_of("k").state == EffectState.FAILED


def test_a_try_is_refused_when_too_little_is_left_of_the_lease(
    far_side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "seconds_left", lambda: 0.05)

    with pytest.raises(effects.EffectPostponed):
        effects.once("k", poster(far_side, "k"), kind="test")

    assert state_of("k").attempts == 0


def test_the_deadline_lies_within_the_lease(far_side: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "seconds_left", lambda: 60.0)
    left = []

    effects.once("k", lambda attempt: left.append(attempt.check()), kind="test", timeout_seconds=600)

    assert 0 < left[0] <= 60


def test_a_run_whose_job_has_moved_on_tries_nothing(far_side: FarSide) -> None:
    job = make_job(State.RUNNING)
    set_current(Run(job.pk, str(uuid.uuid4()), 1, 1, NO_POLICY))

    with pytest.raises(JobMovedOn):
        effects.once("k", poster(far_side, "k"), kind="test")

    assert far_side.carried_out == []
    assert state_of("k").state == EffectState.INTENDED


def test_a_try_that_may_be_under_way_elsewhere_is_waited_for(far_side: FarSide) -> None:
    def call(attempt: effects.Try) -> Any:
        with pytest.raises(effects.EffectPostponed) as postponed:
            effects.once("k", poster(far_side, "k"), kind="test")
        assert 0 < postponed.value.seconds <= 30
        return poster(far_side, "k")(attempt)

    effects.once("k", call, kind="test")

    assert far_side.carried_out == ["k"]


def test_of_many_at_once_one_tries(far_side: FarSide) -> None:
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(effects.once("k", poster(far_side, "k"), kind="test"))
        except (Snooze, JobMovedOn) as exc:
            outcomes.append(type(exc))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 8
    assert far_side.carried_out == ["k"]
    assert state_of("k").attempts == 1


def test_an_answer_that_comes_after_another_took_over_has_the_far_side_looked_at(far_side: FarSide) -> None:
    def call(attempt: effects.Try) -> Any:
        attempt.check()
        let_the_deadline_pass("k")
        run_to_its_end("k", poster(far_side, "k"), look_up=lambda identity: None)
        return poster(far_side, "k")(attempt)  # the freeze between check and write, which nothing can rule out

    effects.once("k", call, kind="test", timeout_seconds=PATIENT_SECONDS)

    effect = state_of("k")
    assert effect.state == EffectState.DONE
    assert "twice" in effect.error
    assert effect.check_at is not None


def test_a_late_answer_to_an_uncertain_effect_is_told_on_its_jobs_page() -> None:
    failed = make_job(State.FAILED)

    def call(attempt: effects.Try) -> dict[str, int]:
        attempt.check()
        Effect.objects.update(state="uncertain", try_id=None, job=failed)
        return {"id": 7}

    effects.once("k", call, kind="comment")

    effect = Effect.objects.get()
    assert (effect.state, effect.receipt) == (EffectState.DONE, {"id": 7})
    event = failed.events.get(kind="effect_happened")
    assert "Effect k is known to have happened at " in event.text
    assert "retry" in event.text
    assert event.detail == {"effect": effect.pk}


def test_a_call_that_checks_no_deadline_is_found_at_its_first_run() -> None:
    with pytest.raises(RuntimeError, match="did not check its deadline"):
        effects.once("k", lambda attempt: 1, kind="test")


def test_a_key_means_one_effect(far_side: FarSide) -> None:
    effects.once("k", poster(far_side, "k"), kind="test", target="a")

    with pytest.raises(effects.EffectKeyReused, match="another key"):
        effects.once("k", poster(far_side, "k"), kind="test", target="b")


@pytest.mark.parametrize("key", ["", "x" * 256, "nul\x00"])
def test_a_key_that_cannot_be_stored_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        effects.once(key, lambda attempt: None, kind="test")


def test_a_receipt_that_is_no_json_is_kept_as_text() -> None:
    def call(attempt: effects.Try) -> Any:
        attempt.check()
        return {"at": object(), "name": "nul\x00"}

    assert effects.once("k", call, kind="test")["name"] == "nul\ufffd"


@pytest.mark.parametrize(
    "change",
    [
        "state = 'done'",
        "state = 'tried'",
        "state = 'uncertain'",
        "state = 'elsewhere'",
        "attempts = 1",
        "decided_at = now()",
        "check_at = now()",
        "try_id = gen_random_uuid()",
    ],
)
def test_postgres_holds_the_states(change: str) -> None:
    store.intend("k", kind="test", target="", identity="i", request=None, context={}, run=None)

    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobs_effect SET {change}")


# --- Later looks -----------------------------------------------------------------------------------------------------


def cut_off(key: str, job_id: str | None = None, ago: int = 60) -> None:
    """A try whose process died, so long ago."""
    known = store.intend(key, kind="test", target="", identity=key, request=None, context={}, run=None)
    assert store.begin(known, str(uuid.uuid4()), seconds=1, run=None)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_effect SET job_id = %s, deadline_at = clock_timestamp() - make_interval(secs => %s) "
            "WHERE key = %s",
            [job_id, ago, key],
        )


def test_a_cut_off_try_is_uncertain_when_no_job_is_left_to_look_after_it() -> None:
    failed, waiting = make_job(State.FAILED), make_job(State.QUEUED)
    cut_off("of a failed job", failed.pk)
    cut_off("of no job")
    cut_off("of a job that will run again", waiting.pk)
    cut_off("of a moment ago", failed.pk, ago=0)

    ledger_connection.effects().use(lambda open_connection: store.sweep(open_connection, None))  # type: ignore[arg-type]

    uncertain = set(Effect.objects.filter(is_uncertain=True).values_list("key", flat=True))
    assert uncertain == {"of a failed job", "of no job"}
    assert failed.events.get().kind == "uncertain"


def test_a_second_copy_is_found_a_while_later(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.effects import copies

    at_the_far_side = {"doubled": 2, "single": 1}
    monkeypatch.setattr(copies, "_counters", {"test": lambda effect: at_the_far_side[effect.identity]})
    for key in at_the_far_side:
        cut_off(key)
        effects.once(key, lambda attempt: attempt.check(), kind="test", look_up=lambda identity: None)
    assert Effect.objects.filter(check_at__isnull=False).count() == 2
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_effect SET check_at = clock_timestamp()")

    ledger_connection.effects().use(lambda open_connection: store.sweep(open_connection, None))  # type: ignore[arg-type]
    assert Job.objects.get().task == "jobs.check_effects"
    assert copies.check_copies() == {"counted": 2, "doubled": 1, "put_off": 0}

    assert dict(Effect.objects.values_list("key", "copies")) == at_the_far_side
    assert copies.check_copies() == {"counted": 0, "doubled": 0, "put_off": 0}


def test_the_self_test_posts_once_for_a_key(far_side: FarSide) -> None:
    assert post_once(far_side.url, "k", None) == "posted: 201"
    assert post_once(far_side.url, "k", None) == "posted: 201"
    far_side.carried_out.append("elsewhere")
    assert post_once(far_side.url, "elsewhere", far_side.lookup_url) == "known already"

    assert far_side.carried_out == ["k", "elsewhere"]


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "ftp://127.0.0.1/", "http:///", "http://169.254.169.254/"])
def test_the_self_test_posts_nowhere_else(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|loopback"):
        post_once(url, "k", None)
