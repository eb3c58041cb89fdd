"""The doctor tells when scans have stopped, and when the clock is not the real one."""

from typing import Any

import pytest

from reminders.models import Channel, ReminderDelivery
from reminders.operators import health
from reminders.services import scanning
from reminders.tests.factories import at, person

pytestmark = pytest.mark.django_db


def told() -> tuple[str, str]:
    found = health.examine()[0]
    return found.state, found.detail


def test_the_age_of_the_last_scan_is_told(clock: Any) -> None:
    assert told() == ("warning", "no scan for due reminders has succeeded yet")
    clock("2026-03-01 09:00")
    scanning.send_due_soon()
    clock("2026-03-01 09:04")
    assert told() == ("ok", "the last scan for due reminders succeeded 4 min ago")
    clock("2026-03-01 09:06")
    assert told() == ("wrong", "the last scan for due reminders succeeded 6 min ago")
    assert "reminders-send-due-soon" in health.examine()[0].remedy


def test_a_virtual_clock_is_warned_of(clock: Any, settings: Any) -> None:
    from django.core.checks import run_checks

    assert "unset VIRTUAL_CLOCK" in [found.remedy for found in health.examine()]
    assert "reminders.W001" in [message.id for message in run_checks()]
    settings.VIRTUAL_CLOCK = ""
    assert "reminders.W001" not in [message.id for message in run_checks()]
    assert len(health.examine()) == 1


def test_a_missing_mail_server_is_warned_of(clock: Any, settings: Any) -> None:
    settings.EMAIL_HOST = ""

    told = {found.detail: found for found in health.examine()}["there is no mail server; reminders by mail fail"]

    assert (told.state, "set EMAIL_URL" in told.remedy) == ("warning", True)


def test_deliveries_that_failed_within_a_day_are_warned_of(clock: Any) -> None:
    ada = person()
    channel = Channel.objects.create(user=ada, kind="mail")
    for when in ("2026-02-26 00:00", "2026-02-28 12:00"):
        ReminderDelivery.objects.create(channel=channel, recipient=ada, state="failed", created_at=at(when))

    (told,) = [found for found in health.examine() if "failed" in found.detail]

    assert (told.state, told.detail) == ("warning", "1 delivery of the last 24 hours failed")
    assert "manage.py reminders deliveries --state failed" in told.remedy


def test_what_waits_for_a_person_is_warned_of(clock: Any) -> None:
    ada, now = person(), at("2026-03-01 00:00")
    aside = {"set_aside_at": now, "set_aside_because": "410 gone"}
    hook = Channel.objects.create(user=ada, kind="webhook", **aside)
    ReminderDelivery.objects.bulk_create(
        ReminderDelivery(channel=hook, recipient=ada, state="uncertain", created_at=now) for _ in range(2)
    )

    words = [finding.detail for finding in health.examine() if finding.state == "warning"]

    assert "2 deliveries may have arrived, or not; a person decides" in words
    assert "1 channel set aside after failures" in words
