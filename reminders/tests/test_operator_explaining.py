"""Every rule tells in one sentence why it did, did not or will remind somebody."""

from datetime import date, time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.operators.actors import command_actor
from reminders.models import Channel, ChannelKind, Priority, Reminder, ReminderDelivery, ReminderRule, Suppression
from reminders.operators import rules
from reminders.services import scanning, todos
from reminders.services.explaining import Explanation, explain
from reminders.services.explaining_lines import Line
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9), "time_zone": "Europe/Berlin"}


def line(explanation: Explanation, kind: str) -> Line:
    return next(one for one in explanation.rules if one.kind == kind)


def own_rule(row: Any) -> str:
    return f"rule:{row.rules.get().pk}"


def test_what_is_ahead_is_told_on_the_persons_clock_and_in_utc(clock: Any) -> None:
    ada = person("ada", time_zone="America/New_York")
    row = todo(ada, ReminderRule(offset="-PT1H"), **DUE)

    told = explain(row, ada)
    ahead = line(told, own_rule(row))
    assert ahead.applies
    assert ahead.what == "Rule of the task: 1 hour before it is due, for whoever does it"
    assert ahead.words == "It fires on 2026-03-02 02:00 America/New_York (07:00 UTC)."
    assert (ahead.next_at, ahead.next_local) == (at("2026-03-02 07:00"), "2026-03-02 02:00 America/New_York")
    assert told.summary.startswith("The next reminder of ada is planned: Rule of the task: 1 hour before it is due")
    assert told.zone == "America/New_York"
    assert "It is for those who watch the task, which ada is not." in line(told, "overdue:2").words
    assert told.notes[-1].startswith("No scan for due reminders has succeeded yet")


def test_what_was_sent_is_told_with_its_message_id(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, ReminderRule(offset="-PT1H"), **DUE)
    scanning.send_due_soon()
    clock("2026-03-02 07:00")
    scanning.send_due_soon()
    assert "waits to be sent" in line(explain(row, ada), own_rule(row)).words

    deliveries = ReminderDelivery.objects.all()
    deliveries.update(state="sent", sent_at=at("2026-03-02 07:01"), message_id="<7@switchyard>")
    told = line(explain(row, ada), own_rule(row))
    assert told.words.endswith("Sent by mail on 2026-03-02 07:01 UTC with the Message-ID <7@switchyard>.")
    assert [one.message_id for one in told.sent] == ["<7@switchyard>"]
    assert told.next_at is None

    deliveries.update(state="failed", sent_at=None, error="550 no such user")
    assert "The delivery by mail failed: 550 no such user." in line(explain(row, ada), own_rule(row)).words
    deliveries.update(state="uncertain")
    assert "is not known" in line(explain(row, ada), own_rule(row)).words
    assert explain(row, ada).notes[-1] == "The last scan for due reminders succeeded on 2026-03-02 07:00 UTC."


def test_a_former_date_is_told_apart(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, **DUE)
    clock("2026-03-02 08:00")
    scanning.send_due_soon()
    todos.change(row.pk, {"due_date": date(2026, 3, 4)})
    row.refresh_from_db()
    told = line(explain(row, ada), "overdue:0")
    assert told.words == "It fires on 2026-03-04 08:00 UTC."
    assert "Before that, for another date: It fired on 2026-03-02 08:00 UTC" in told.earlier[0]


def test_a_former_rule_is_told_apart(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, ReminderRule(offset="-PT1H"), **DUE)
    clock("2026-03-02 07:00")
    scanning.send_due_soon()
    rules.change_rule(command_actor(), row.rules.get().pk, {"offset": "-PT30M"})

    told = line(explain(row, ada), own_rule(row))
    assert told.words == "It fires on 2026-03-02 07:30 UTC."
    assert "Before that, by the rule as it was: It fired on 2026-03-02 07:00 UTC" in told.earlier[0]


@pytest.mark.parametrize("snoozed", [False, True])
def test_what_another_rule_has_told_at_the_same_time_says_so_afterwards_too(snoozed: bool, clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, ReminderRule(offset="PT0S"), **DUE)
    at_once = "Another rule fires at the same time, 2026-03-02 08:00 UTC; one reminder is enough."
    assert line(explain(row, ada), "overdue:0").words == at_once
    clock("2026-03-02 08:00")
    assert line(explain(row, ada), "overdue:0").words == at_once
    scanning.send_due_soon()
    if snoozed:
        todos.snooze(row.pk, ada.pk, at("2026-03-02 11:00"))
    assert line(explain(row, ada), "overdue:0").words == at_once.replace("fires", "fired")


def test_rules_that_do_not_count_say_why(clock: Any) -> None:
    ada, bob, eve = person("ada"), person("bob"), person("eve")
    default = ReminderRule.objects.create(person=bob, offset="-P1D")
    own = ReminderRule(offset="-PT1H")
    row = todo(ada, own, assignees=[bob], watchers=[eve], overdue_reminders=False, **DUE)

    kind = f"rule:{default.pk}"
    assert "has rules of its own for bob, so default rules do not count" in line(explain(row, bob), kind).words
    assert "It is not for eve" in line(explain(row, eve), own_rule(row)).words
    assert "switched off for this task" in line(explain(row, bob), "overdue:0").words
    assert "others are assigned, who are reminded in their place" in " ".join(explain(row, ada).notes)

    row.rules.all().delete()
    row.assignees.set([ada])
    assert "are assigned to bob, and this one is not" in line(explain(row, bob), kind).words
    row.watchers.set([])
    assert "did not make this task" in " ".join(explain(row, eve).notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"set_aside_at": at("2026-03-01 10:00"), "set_aside_because": "'soon' is no duration", "failures": 3},
            "'soon'",
        ),
        ({"anchor": "start"}, "The task has no start date to count from."),
        ({"offset": "-P1000D"}, "had passed when it was planned"),
        ({"offset": "PT0S"}, "It would fire on 2026-03-02 08:00 UTC, and is not planned yet"),
        ({"offset": "P1D"}, "Another rule fires at the same time"),
        ({"offset": "bad"}, "It cannot be worked out: BadDuration: 'bad' is no duration"),
    ],
)
def test_a_rule_that_is_not_planned_says_why(change: Any, words: str, clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, ReminderRule(offset="-P900D"), **DUE)
    if change.get("offset") == "PT0S":
        row.planned.all().delete()
    row.rules.update(**change)
    assert words in line(explain(row, ada), own_rule(row)).words


def test_what_holds_or_stops_is_told_before_it_does(clock: Any) -> None:
    ada = person("ada", quiet_from=time(22), quiet_until=time(10))
    row = todo(ada, **DUE)
    told = explain(row, ada)
    assert "held until 2026-03-02 10:00 UTC: quiet hours" in line(told, "overdue:0").words
    assert "Quiet hours are from 22:00 to 10:00, which urgent tasks pass." in told.notes
    row.priority = Priority.URGENT
    assert line(explain(row, ada), "overdue:0").words == "It fires on 2026-03-02 08:00 UTC."

    ada.reminder_preferences.paused_until = at("2026-04-01 00:00")
    ada.reminder_preferences.save()
    told = explain(row, ada)
    assert "Reminders of ada are paused until 2026-04-01 00:00 UTC." in told.notes
    assert "held until 2026-04-01 00:00 UTC: reminders are paused" in line(told, "overdue:0").words


def test_what_was_held_dropped_or_expired_is_told(clock: Any) -> None:
    ada = person("ada", quiet_from=time(22), quiet_until=time(10))
    row = todo(ada, **DUE)
    clock("2026-03-02 08:00")
    scanning.send_due_soon()
    told = line(explain(row, ada), "overdue:0")
    assert "is held until 2026-03-02 10:00 UTC: quiet hours" in told.words
    assert (told.state, told.held_until) == ("held", at("2026-03-02 10:00"))

    todos.complete(row.pk, ada)
    row.refresh_from_db()
    closed = explain(row, ada)
    assert line(closed, "overdue:0").words.endswith("was not sent: the task was closed.")
    assert "the task was done on 2026-03-02 08:00 UTC, before its time" in line(closed, "overdue:1").words
    assert closed.summary == "Nothing is planned for ada, and nothing was sent."
    Reminder.objects.update(state="expired", reason="found more than a day late")
    assert "found more than a day late" in line(explain(row, ada), "overdue:0").words


def test_a_missing_mail_server_is_told_and_ways_without_it_stay_open(clock: Any, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    ada = person("ada")
    row = todo(ada, **DUE)

    told = explain(row, ada)
    why = "no mail server is configured; whoever runs this installation can set EMAIL_URL."
    assert f"Nothing is sent by mail: {why}" in told.notes
    assert line(told, "overdue:0").words.endswith(f"reaches nobody as things are: {why}")

    Channel.objects.create(user=ada, kind=ChannelKind.WEBHOOK, address="https://x.example/", secret="whsec_x")
    told = explain(row, ada)
    assert "Reminders are sent by webhook." in told.notes
    assert "reaches nobody" not in line(told, "overdue:0").words


def test_each_way_that_is_shut_is_told(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, **DUE)
    assert not Channel.objects.exists()
    assert "Reminders are sent by mail." in explain(row, ada).notes
    assert not Channel.objects.exists(), "a look changes nothing"

    Suppression.objects.create(address="ada@example.org", reason="550 gone")
    assert "the address is suppressed, as it refused mail: 550 gone" in " ".join(explain(row, ada).notes)
    Channel.objects.create(user=ada, kind=ChannelKind.MAIL, unsubscribed_at=at("2026-03-01 00:00"))
    told = explain(row, ada)
    assert "Nothing is sent by mail: unsubscribed." in told.notes
    assert "reaches nobody as things are: mail: unsubscribed" in line(told, "overdue:0").words
    Channel.objects.update(unsubscribed_at=None, set_aside_at=at("2026-03-01 00:00"), set_aside_because="three failed")
    assert "Nothing is sent by mail: set aside, three failed." in explain(row, ada).notes
    Channel.objects.all().delete()
    ada.email = ""
    ada.save()
    assert "The account has no mail address, and no other way to be reached." in explain(row, ada).notes
    ada.is_active = False
    ada.save()
    assert "The account is closed, so nothing is sent." in explain(row, ada).notes


def test_a_snooze_is_told_with_what_it_takes_the_place_of(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, **DUE)
    todos.snooze(row.pk, ada.pk, at("2026-03-02 12:00"))
    told = explain(row, ada)
    assert line(told, "snooze:0").words == "It fires on 2026-03-02 12:00 UTC."
    assert "was snoozed until 2026-03-02 12:00 UTC, which takes its place" in line(told, "overdue:0").words


def test_an_explanation_takes_the_same_queries_for_many_rules(clock: Any) -> None:
    ada = person("ada")
    small = todo(ada, ReminderRule(offset="-PT1H"), **DUE)
    large = todo(ada, *(ReminderRule(offset=f"-PT{hour}H") for hour in range(1, 15)), **DUE)

    def queries(row: Any) -> int:
        with CaptureQueriesContext(connection) as seen:
            explain(row, ada)
        return len(seen)

    explain(small, ada)  # preferences are read once
    assert queries(small) == queries(large) <= 20
