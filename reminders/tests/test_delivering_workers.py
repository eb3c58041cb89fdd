"""Deliveries by real workers that are killed at the worst moments; what the mail server got is the judge."""

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.models import Job
from reminders.models import ReminderDelivery
from reminders.tests.deliveries import fired
from reminders.tests.factories import person
from reminders.tests.post_office import PostOffice

PATIENCE_SECONDS = 180

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def worker_settings(office: PostOffice, clock: Any, settings: Any) -> dict[str, str]:
    return {
        "EMAIL_URL": f"smtp://127.0.0.1:{office.port}",
        "MAIL_FROM": settings.DEFAULT_FROM_EMAIL,
        "VIRTUAL_CLOCK": settings.VIRTUAL_CLOCK,
    }


def wait_until_sent(delivery: ReminderDelivery) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while delivery.state != "sent":
        assert time.monotonic() < deadline, f"delivery {delivery.pk} is {delivery.state}: {delivery.error}"
        time.sleep(0.2)
        delivery.refresh_from_db()


def test_a_worker_that_dies_between_sending_and_recording_sends_nothing_twice(
    clock: Any, office: PostOffice, worker_settings: dict[str, str], live_worker: Any, tmp_path: Path
) -> None:
    flag = tmp_path / "killed"
    live_worker(
        "default", "deliveries", TASK_MODULES="reminders.tests.kill_probe", KILL_ONCE=str(flag), **worker_settings
    )
    delivery = fired(clock, person())

    wait_until_sent(delivery)
    assert flag.exists()
    assert Job.objects.get(pk=delivery.job_id).crashes == 1
    (mail,) = office.mails
    assert mail["Message-ID"] == delivery.message_id


def test_a_worker_that_dies_while_the_server_takes_the_mail_leads_to_one_copy_at_most(
    clock: Any, office: PostOffice, worker_settings: dict[str, str], live_worker: Any
) -> None:
    worker = live_worker("default", "deliveries", **worker_settings)
    office.steps = ["deed"]
    office.deed = lambda: [child.kill() for child in psutil.Process(worker.pid).children()]
    delivery = fired(clock, person())

    wait_until_sent(delivery)
    first, second = office.seen
    assert first == second
    assert {mail["Message-ID"] for mail in office.mails} == {delivery.message_id}
    assert len(office.accepted) == 2
