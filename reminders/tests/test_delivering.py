"""Mail: never lost, at most one second copy and that under the same Message-ID; against a server that misbehaves."""

from datetime import date, time
from typing import Any

import pytest

from jobs.effects import EffectUncertain, EffectUnknown, Try
from jobs.ledger.errors import Snooze
from jobs.models import Effect, Job
from jobs.operators.actors import Actor, command_actor
from reminders.models import Channel, Layout, Reminder, ReminderDelivery, ReminderRule, Suppression, Todo
from reminders.operators import reminders as operators
from reminders.operators import rules
from reminders.services import channels, delivering, reach, scanning, settling, todos
from reminders.services.delivering import DeliveryFailed
from reminders.tests.deliveries import DUE, fired, fired_again, let_the_deadline_pass, run_out, tried
from reminders.tests.factories import at, person, todo
from reminders.tests.post_office import PostOffice

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]


def test_a_mail_is_sent_once_and_written_down(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person("ada"))
    clock("2026-03-02 09:01")

    assert tried(delivery)["state"] == "sent"
    assert tried(delivery)["note"] == "it had come to its end before"

    (mail,) = office.mails
    assert mail["Message-ID"] == delivery.message_id
    assert delivery.message_id == f"<reminder.{delivery.pk}.1772442000@switchyard.example>"
    assert (delivery.state, delivery.sent_at, delivery.attempts) == ("sent", at("2026-03-02 09:01"), 1)
    assert office.accepted[0].rcpt_tos == ["ada@example.org"]


@pytest.mark.parametrize("answer", ["RCPT 550 5.1.1 no such user", "RCPT 553 no", "DATA 552 5.2.2 mailbox full"])
def test_an_address_that_refuses_for_good_is_mailed_never_again_until_it_is_lifted(
    clock: Any, office: PostOffice, answer: str
) -> None:
    ada = person()
    delivery = fired(clock, ada)
    office.steps = [answer]

    assert isinstance(tried(delivery), DeliveryFailed)
    assert delivery.state == "failed"
    refused = Suppression.objects.get()
    assert (refused.address, answer[5:] in refused.reason) == (ada.email, True)
    assert Channel.objects.get().failures == 1

    later = fired(clock, ada)
    assert tried(later)["state"] == "dropped"
    assert "suppressed, as it refused mail" in later.error
    with pytest.raises(channels.ChannelRefused, match="suppressed"):
        channels.retry_delivery(command_actor(), delivery.pk)
    assert office.accepted == []

    channels.lift_suppression(Actor.of_user(ada, via="page"), refused.pk)
    channels.retry_delivery(command_actor(), delivery.pk)
    assert tried(ReminderDelivery.objects.get(pk=delivery.pk))["state"] == "sent"
    assert len(office.accepted) == 1


@pytest.mark.parametrize("written", ["bad@bücher.example", "Bad@BÜCHER.example", "bad@xn--bcher-kva.example"])
def test_an_address_in_an_international_domain_is_suppressed_however_it_is_written(
    clock: Any, office: PostOffice, written: str
) -> None:
    ada = person()
    ada.email = "bad@bücher.example"
    ada.save()
    delivery = fired(clock, ada)
    office.steps = ["RCPT 550 5.1.1 no such user"]
    assert isinstance(tried(delivery), DeliveryFailed)

    ada.email = written
    ada.save()
    later = fired(clock, ada)
    assert tried(later)["state"] == "dropped"
    assert len(office.steps) == 0
    assert office.accepted == []
    mine = channels.suppressions(Actor.of_user(ada, via="page"))
    assert [row.address for row in mine] == ["bad@xn--bcher-kva.example"]
    assert list(operators.suppressions(command_actor(), search=written)) == list(mine)
    assert reach.suppression_of(Channel.objects.get(), ada) == mine[0]
    channels.lift_suppression(Actor.of_user(ada, via="page"), mine[0].pk)
    assert tried(fired(clock, ada))["state"] == "sent"


def test_a_matter_of_policy_fails_the_delivery_and_suppresses_nobody(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    office.steps = ["RCPT 554 5.7.1 relay access denied"]

    assert isinstance(tried(delivery), DeliveryFailed)
    assert not Suppression.objects.exists()


def test_not_now_is_waited_for_as_long_as_a_server_that_is_away(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    office.steps = ["RCPT 450 greylisted", "DATA 451 busy", "RCPT 452 full"]

    for said, seconds in (("450 greylisted", 5), ("451 busy", 10), ("452 full", 20)):
        outcome = tried(delivery, last_attempt=True)
        assert isinstance(outcome, Snooze)
        assert outcome.seconds == seconds
        assert said in delivery.error
    assert tried(delivery)["state"] == "sent"
    assert not Suppression.objects.exists()


def test_a_day_of_not_now_fails_and_counts_against_the_channel(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    ReminderDelivery.objects.filter(pk=delivery.pk).update(attempts=delivering.MOST_WAITS)
    office.steps = ["RCPT 452 full"]

    assert isinstance(tried(delivery), DeliveryFailed)
    assert (delivery.state, Channel.objects.get().failures) == ("failed", 1)
    assert not Suppression.objects.exists()


def test_three_failures_in_a_row_set_a_channel_aside_and_a_success_forgets_them(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    row = Reminder.objects.get().todo
    for number, failures in enumerate((1, 0, 1, 2, 3)):
        office.steps = [] if number == 1 else ["RCPT 550 5.7.1 busy"]
        tried(delivery, last_attempt=True)
        channel = Channel.objects.get()
        assert channel.failures == failures
        delivery = fired_again(clock, row, number + 1)
    assert "3 deliveries in a row failed, the last one so: " in channel.set_aside_because
    assert "550 5.7.1 busy" in channel.set_aside_because
    assert Reminder.objects.latest("id").reason == f"mail: set aside, {channel.set_aside_because}"

    channels.enable_channel(Actor.of_user(channel.user, via="page"), channel.pk)
    channel.refresh_from_db()
    assert (channel.failures, channel.set_aside_at, channel.set_aside_because) == (0, None, "")


@pytest.mark.parametrize(
    ("step", "copies"), [("drop before storing", 1), ("drop after storing", 2), ("stall", 2), ("garbage", 2)]
)
def test_what_may_have_gone_goes_once_more_with_the_same_bytes(
    clock: Any, office: PostOffice, step: str, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = fired(clock, person())
    office.steps = [step]

    with monkeypatch.context() as patched:
        if step == "stall":
            patched.setattr(Try, "seconds_left", property(lambda attempt: seconds_until_taken(attempt, office)))
        assert isinstance(tried(delivery), EffectUnknown)
    # The bytes are sent as they are, whatever became of the task.
    todos.complete(Reminder.objects.get().todo_id, None)
    let_the_deadline_pass(delivery)
    assert tried(delivery)["state"] == "sent"

    first, second = office.seen
    assert first == second
    assert len(office.accepted) == copies
    assert {mail["Message-ID"] for mail in office.mails} == {delivery.message_id}


def seconds_until_taken(attempt: Try, office: PostOffice) -> float:
    """How long to wait for an answer: no longer once the server has the text, which it has first."""
    if attempt.may_have_happened:
        assert office.has_taken.wait(120)
        return 0.1
    return 120.0


@pytest.mark.django_db(transaction=True)  # a person's word locks the row, which the next try writes elsewhere
def test_what_may_have_gone_twice_waits_for_a_person(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    office.steps = ["drop after storing", "drop before storing"]

    assert isinstance(run_out(delivery), EffectUncertain)
    assert delivery.state == "uncertain"
    assert len(office.accepted) == 1

    channels.retry_delivery(command_actor(), delivery.pk)
    assert tried(delivery)["state"] == "sent"
    assert len(set(office.seen)) == 1


def test_the_last_attempt_that_may_have_gone_is_not_the_last(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    office.steps = ["drop before storing"]

    assert isinstance(tried(delivery, last_attempt=True), Snooze)
    let_the_deadline_pass(delivery)
    assert tried(delivery, last_attempt=True)["state"] == "sent"


def test_a_server_that_is_away_is_waited_for_without_using_attempts(
    clock: Any, office: PostOffice, settings: Any
) -> None:
    delivery = fired(clock, person())
    settings.EMAIL_PORT = 1
    waits = [tried(delivery, last_attempt=True) for _ in range(3)]

    assert [wait.seconds for wait in waits] == [5, 10, 20]
    assert "takes no mail now: ConnectionRefusedError" in delivery.error
    settings.EMAIL_PORT = office.port
    office.steps = ["MAIL 550 5.7.1 unknown sender"]
    assert isinstance(tried(delivery, last_attempt=True), Snooze)
    assert tried(delivery)["state"] == "sent"
    assert (Channel.objects.get().failures, delivery.error) == (0, "")


def test_without_a_mail_server_it_fails_with_the_remedy_and_can_be_sent_anew(
    clock: Any, office: PostOffice, settings: Any
) -> None:
    delivery = fired(clock, person())
    settings.EMAIL_HOST = ""
    assert isinstance(tried(delivery), DeliveryFailed)
    assert (delivery.state, delivery.error) == (
        "failed",
        "no mail server is configured; set EMAIL_URL, and send it again",
    )
    assert Channel.objects.get().failures == 0

    settings.EMAIL_HOST = "127.0.0.1"
    before = delivery.job_id
    delivery = channels.retry_delivery(command_actor(), delivery.pk)
    assert (delivery.state, delivery.attempts, delivery.error) == ("pending", 0, "")
    assert delivery.job_id
    assert Job.objects.filter(pk__in=[before, delivery.job_id]).exists()
    assert tried(delivery)["state"] == "sent"


def test_it_is_sent_anew_to_the_address_of_now(clock: Any, office: PostOffice) -> None:
    ada = person()
    delivery = fired(clock, ada)
    office.steps = ["RCPT 550 no such user"]
    tried(delivery)
    channel = Channel.objects.get()
    channels.change_channel(Actor.of_user(ada, via="page"), channel.pk, {"address": "new@example.org"})
    with pytest.raises(channels.ChannelRefused, match="waits for confirmation"):
        channels.retry_delivery(command_actor(), delivery.pk)
    Channel.objects.update(waits_since=None)

    channels.retry_delivery(command_actor(), delivery.pk)
    assert tried(delivery)["state"] == "sent"
    assert office.accepted[0].rcpt_tos == ["new@example.org"]


@pytest.mark.parametrize(
    ("step", "reached"),
    [
        ("RCPT 451 4.2.0 not now", "ada.right@example.org"),
        ("DATA 451 4.2.0 not now", "ada.right@example.org"),
        # It may have been taken: the bytes and their address stay.
        ("drop before storing", "ada@example.org"),
    ],
)
def test_a_corrected_address_is_used_by_what_surely_was_not_sent(
    clock: Any, office: PostOffice, step: str, reached: str
) -> None:
    ada = person("ada")
    delivery = fired(clock, ada)
    office.steps = [step]
    tried(delivery)
    let_the_deadline_pass(delivery)
    ada.email = "ada.right@example.org"
    ada.save()

    assert tried(delivery)["state"] == "sent"

    assert [envelope.rcpt_tos for envelope in office.accepted] == [[reached]]
    assert [mail["To"] for mail in office.mails] == [reached]


@pytest.mark.parametrize("written", ["Ada@EXAMPLE.org", "ada@example.org"])
def test_an_address_that_is_only_written_otherwise_keeps_the_stored_bytes(
    clock: Any, office: PostOffice, written: str
) -> None:
    ada = person("ada")
    delivery = fired(clock, ada)
    office.steps = ["RCPT 451 4.2.0 not now"]
    tried(delivery)
    ada.email = written
    ada.save()

    assert tried(delivery)["state"] == "sent"
    assert office.accepted[0].rcpt_tos == ["ada@example.org"]


# --- Looked at again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("done", "the task was closed"),
        ("moved", "the task's date was changed"),
        ("snoozed", "it was snoozed"),
        ("ruled", "its rule was changed"),
        ("closed", "the account is closed"),
        ("unsubscribed", "mail: unsubscribed"),
        ("disabled", "mail: switched off"),
    ],
)
def test_what_needs_no_telling_any_more_is_dropped(clock: Any, office: PostOffice, what: str, why: str) -> None:
    ada = person()
    rule = [ReminderRule(offset="PT0S")] if what == "ruled" else []
    delivery = fired(clock, ada, *rule)
    row = Reminder.objects.get().todo
    if what == "done":
        todos.complete(row.pk, ada)
    elif what == "moved":
        todos.change(row.pk, {"due_date": date(2026, 3, 9)})
    elif what == "snoozed":
        todos.snooze(row.pk, ada.pk, at("2026-03-02 11:00"))
    elif what == "ruled":
        rules.change_rule(command_actor(), row.rules.get().pk, {"offset": "PT1H"})
    elif what == "closed":
        type(ada).objects.update(is_active=False)
    else:
        changed = {"unsubscribed_at": at("2026-03-02 09:00")} if what == "unsubscribed" else {"enabled": False}
        Channel.objects.update(**changed)

    assert tried(delivery) == {"delivery": delivery.pk, "state": "dropped", "why": why}
    assert delivery.error == why
    assert office.seen == []
    dropped = Reminder.objects.get()
    assert (dropped.state, dropped.reason) == (
        ("dropped", why) if what in ("done", "moved", "snoozed", "ruled") else ("outbox", "")
    )


def test_a_task_that_is_done_while_the_server_is_away_is_not_told(
    clock: Any, office: PostOffice, settings: Any
) -> None:
    delivery = fired(clock, person())
    settings.EMAIL_PORT = 1
    assert isinstance(tried(delivery), Snooze)
    todos.complete(Reminder.objects.get().todo_id, None)

    settings.EMAIL_PORT = office.port
    assert tried(delivery)["state"] == "dropped"


def test_a_digest_leaves_out_what_is_done(clock: Any, office: PostOffice) -> None:
    ada = person()
    for minute in range(4):
        todo(ada, title=f"Task {minute}", due_date=date(2026, 3, 2), due_time=time(9, minute))
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    delivery = ReminderDelivery.objects.get(layout=Layout.DIGEST)
    done = Reminder.objects.get(todo__title="Task 2")
    todos.complete(done.todo_id, ada)

    assert tried(delivery)["state"] == "sent"
    text = office.mails[0].get_body(("plain",)).get_content()
    assert [f"Task {number}" in text for number in range(4)] == [True, True, False, True]
    assert office.mails[0]["Subject"] == "3 reminders: Task 0, …"
    done.refresh_from_db()
    assert (done.state, done.reason) == ("dropped", "the task was closed")


@pytest.mark.parametrize("step", ["RCPT 451 4.2.0 not now", ""])
def test_a_digest_that_was_surely_not_sent_leaves_out_and_takes_in_what_changed_since(
    clock: Any, office: PostOffice, settings: Any, step: str
) -> None:
    ada, bob = person(), person()
    for minute in range(4):
        todo(bob, assignees=[ada], title=f"Task {minute}", due_date=date(2026, 3, 2), due_time=time(9, minute))
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    delivery = ReminderDelivery.objects.get(layout=Layout.DIGEST)
    rows = list(Todo.objects.order_by("title"))
    todos.complete(rows[0].pk, ada)
    office.steps = [step] if step else []
    settings.EMAIL_PORT = office.port if step else 1
    assert isinstance(tried(delivery), Snooze)

    todos.reopen(rows[0].pk)
    todos.complete(rows[1].pk, ada)
    todos.change(rows[2].pk, {}, assignees=[bob.pk])
    settings.EMAIL_PORT = office.port
    scanning.send_due_soon()
    assert tried(delivery)["state"] == "sent"
    text = office.mails[0].get_body(("plain",)).get_content()
    assert [f"Task {number}" in text for number in range(4)] == [True, False, False, True]
    states = dict(Reminder.objects.values_list("todo__title", "state"))
    assert states == {"Task 0": "outbox", "Task 1": "dropped", "Task 2": "dropped", "Task 3": "outbox"}


# --- Jobs that end without a word -------------------------------------------------------------------------------------


def test_a_delivery_whose_job_ended_is_settled_by_what_is_known(clock: Any, office: PostOffice) -> None:
    ada, bob, eve = person(), person(), person()
    sent, failed, running = (fired(clock, who) for who in (ada, bob, eve))
    tried(sent)
    ReminderDelivery.objects.filter(pk=sent.pk).update(state="pending", sent_at=None, message_id="")
    ended = Job.objects.filter(pk__in=[sent.job_id, failed.job_id])
    ended.update(state="failed", finished_at=at("2026-03-02 09:05"), error="worker lost three times")

    assert settling.settle_lost() == {"sent": 1, "uncertain": 0, "failed": 1, "confirmations": 0}
    for row in (sent, failed, running):
        row.refresh_from_db()
    assert (sent.state, sent.message_id) == ("sent", office.mails[0]["Message-ID"])
    assert (failed.state, failed.error) == ("failed", "its job ended as failed: worker lost three times")
    assert running.state == "pending"


def test_what_was_sent_and_not_written_down_is_written_down_by_the_next_run(clock: Any, office: PostOffice) -> None:
    delivery = fired(clock, person())
    tried(delivery)
    ReminderDelivery.objects.filter(pk=delivery.pk).update(state="pending", sent_at=None, message_id="")
    todos.complete(Reminder.objects.get().todo_id, None)

    assert tried(delivery)["state"] == "sent"
    assert len(office.seen) == 1
    assert delivery.message_id == office.mails[0]["Message-ID"]
    assert Effect.objects.get(key=f"reminder:{delivery.pk}").attempts == 1


def test_one_recipient_who_cannot_be_mailed_stops_nobody(clock: Any, office: PostOffice) -> None:
    bad, good = person(), person()
    type(bad).objects.filter(pk=bad.pk).update(email="nobody at all\nBcc: x@example.org")
    todo(good, assignees=[bad, good], **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()

    outcomes = {row.recipient_id: tried(row) for row in ReminderDelivery.objects.all()}
    assert isinstance(outcomes[bad.pk], DeliveryFailed)
    assert "mail address is not well-formed" in str(outcomes[bad.pk])
    assert outcomes[good.pk]["state"] == "sent"
