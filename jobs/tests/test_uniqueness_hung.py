"""Unique keys while the broker hangs; apart from the tests whose shared worker has a broker that does not."""

import signal
import time

import pytest
from django.db import connection

from jobs.models import Job
from jobs.tests import probe_tasks as probe
from jobs.tests.sending import broker_url

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]


def test_a_send_is_folded_and_supersedes_at_once_while_the_broker_hangs(valkey, live_worker, monkeypatch):
    """What dispatchers try to send meanwhile must not be locked by them."""
    monkeypatch.setattr("jobs.ledger.door.publish_soon", lambda ids: None)
    live_worker("default", BROKER_URL=broker_url(valkey))
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '3s'")  # a dispatcher that waits for the broker waits for longer
            for _ in range(12):
                probe.unique_queued.delay("a")
                probe.superseding.delay("a")
                time.sleep(1)
            cursor.execute("RESET lock_timeout")
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    assert Job.objects.filter(task="probe.unique_queued").count() == 1
