"""A scan, and somebody or a way to somebody who goes at the same time: neither fails, and the others are reminded."""

from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest

from jobs.operators.actors import command_actor
from reminders.models import Channel, Reminder, ReminderDelivery
from reminders.services import channels, scanning
from reminders.tests.factories import at, person, todo
from reminders.tests.racing import begun, uncommitted

pytestmark = pytest.mark.django_db(transaction=True)

NOW = at("2026-03-02 09:00")
GOING: dict[str, Callable[[Channel], Any]] = {
    "a channel": lambda row: channels.delete_channel(command_actor(), row.pk),
    "an account": lambda row: row.user.delete(),
}
going = pytest.mark.parametrize("what", GOING)


@pytest.fixture
def channel(clock: Any) -> Channel:
    """A webhook of one of two people, who are both reminded now."""
    ada, bob = person(), person()
    for who in (ada, bob):
        todo(who, due_date=date(2026, 3, 2), due_time=time(9))
    clock(NOW)
    return Channel.objects.create(user=ada, kind="webhook", address="https://hooks.example.org/x")


def scan() -> None:
    scanning.fill_outbox(NOW, scanning.Scan())


def assert_the_other_is_reminded(gone: Channel) -> None:
    assert not Channel.objects.filter(pk=gone.pk).exists()
    assert not ReminderDelivery.objects.filter(channel=gone.pk).exists()
    assert ReminderDelivery.objects.exclude(recipient=gone.user_id).count() == 1


@going
def test_what_goes_during_a_scan_waits_for_it(what: str, channel: Channel) -> None:
    with uncommitted(scan) as scanning_:
        other = begun(lambda: GOING[what](channel))
        assert scanning_.is_running
        assert other.is_running
    other.end()

    assert_the_other_is_reminded(channel)


@going
def test_a_scan_waits_for_what_goes(what: str, channel: Channel) -> None:
    user = channel.user_id
    with uncommitted(lambda: GOING[what](channel)):
        other = begun(scan)
        assert other.is_running
    other.end()

    channel.user_id = user
    assert_the_other_is_reminded(channel)
    assert Reminder.objects.filter(recipient=user).count() == (what == "a channel")
