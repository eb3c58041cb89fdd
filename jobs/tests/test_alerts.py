"""Alerts: when they fire and recover, and how people are told, by a real mail server and a real webhook receiver."""

import base64
import hmac
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs.ledger import sweeps
from jobs.ledger.connection import LedgerConnection
from jobs.ledger.connection import effects as effects_connection
from jobs.models import Alert, AlertDelivery, AlertEvent, Effect, State
from jobs.operators.actors import command_actor
from jobs.operators.alerts import enable_alert, try_alert, webhook_secret
from jobs.tests.factories import make_job
from jobs.tests.test_effects_mail import Letters, OnAnyPort
from jobs.watch import channels, delivering, registering
from jobs.watch.lookout import Lookout

pytestmark = pytest.mark.django_db(transaction=True)


class Receiver:
    """A webhook's far side, which keeps what it was sent and answers as told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", receiver.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/secret-path"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALERT_WEBHOOK_HOSTS = ["127.0.0.1"]
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def letters(settings: Any) -> Iterator[Letters]:
    made = Letters()
    controller = OnAnyPort(made, hostname="127.0.0.1", port=0)
    controller.start()
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", controller.port
    yield made
    controller.stop()


@pytest.fixture(autouse=True)
def _close_effects() -> Iterator[None]:
    yield
    effects_connection().close()


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """`look()`: one turn of the sweep, as a dispatcher takes it; then what it has owed is sent, in this thread."""
    monkeypatch.setattr(delivering, "deliver_soon", lambda: None)
    own = LedgerConnection(durable=True)
    own.use(sweeps.prepare)

    def turn() -> None:
        own.use(lambda open_connection: open_connection.execute("UPDATE jobs_sweep SET due_at = now()"))
        own.use(lambda open_connection: sweeps.run(open_connection, registering.ALERTS))
        delivering.deliver_due()

    yield turn
    own.close()


def make_alert(**fields: Any) -> Alert:
    values = {"name": "Failures", "kind": "failed", "threshold": 3, "cooldown_seconds": 0, **fields}
    return Alert.objects.create(**values)


def kinds(alert: Alert) -> list[str]:
    return list(alert.events.order_by("pk").values_list("kind", flat=True))


def age(model: Any, **changes: timedelta) -> None:
    """Move times of all rows into the past."""
    for row in model.objects.all():
        model.objects.filter(pk=row.pk).update(**{name: getattr(row, name) - by for name, by in changes.items()})


# --- When it fires ---------------------------------------------------------------------------------------------------


def test_failed_jobs_fire_once_and_recover_once(look: Callable[[], None]) -> None:
    alert = make_alert()
    failed = [make_job(State.FAILED) for _ in range(2)]
    make_job(State.CANCELLED)
    look()
    assert kinds(alert) == []

    failed.append(make_job(State.FAILED))
    for _ in range(3):
        look()
    assert kinds(alert) == ["fired"]
    assert "3 jobs failed in the last 15 min" in alert.events.get().text
    alert.refresh_from_db()
    assert (alert.state, alert.value) == ("firing", 3)

    failed[0].finished_at = timezone.now() - timedelta(hours=1)
    failed[0].save()
    for _ in range(3):
        look()
    assert kinds(alert) == ["fired", "recovered"]
    alert.refresh_from_db()
    assert alert.state == "ok"


@pytest.mark.parametrize(
    ("scope", "value"),
    [({}, 3), ({"task": "selftest.fail"}, 1), ({"queue": "fast_lane"}, 1), ({"queue": "slow_lane"}, 0)],
)
def test_failed_jobs_are_counted_by_task_and_queue(look: Callable[[], None], scope: dict[str, str], value: int) -> None:
    alert = make_alert(**scope)
    make_job(State.FAILED)
    make_job(State.FAILED, task="selftest.fail")
    make_job(State.FAILED, queue="fast_lane")
    look()

    alert.refresh_from_db()
    assert alert.value == value


def test_a_backlog_fires_by_age_and_by_depth(look: Callable[[], None]) -> None:
    oldest = make_alert(name="Oldest", kind="oldest", threshold=60)
    depth = make_alert(name="Depth", kind="waiting", threshold=2, queue="default")
    make_job(State.QUEUED, run_at=timezone.now() - timedelta(seconds=90))
    make_job(State.SCHEDULED)  # not due
    make_job(State.QUEUED, queue="fast_lane")
    look()
    assert (kinds(oldest), kinds(depth)) == (["fired"], [])
    assert "waits for 90 s" in oldest.events.get().text

    # Due, and nobody sends it: also a backlog.
    make_job(State.SCHEDULED, run_at=timezone.now() - timedelta(seconds=5))
    look()
    assert kinds(depth) == ["fired"]
    assert "2 jobs wait in queue default" in depth.events.get().text

    connection.cursor().execute("DELETE FROM jobs_job")
    look()
    assert (kinds(oldest), kinds(depth)) == (["fired", "recovered"], ["fired", "recovered"])


def test_held_jobs_are_told(look: Callable[[], None]) -> None:
    alert = make_alert(kind="waiting", threshold=1)
    make_job(State.QUEUED, held=True)
    look()

    assert "Held back by a pause or a limit: 1" in alert.events.get().text


def test_it_fires_only_after_it_has_lasted(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1, for_seconds=60)
    job = make_job(State.FAILED)
    look()
    alert.refresh_from_db()
    assert (alert.state, kinds(alert)) == ("pending", [])

    job.delete()
    look()
    alert.refresh_from_db()
    assert alert.state == "ok"
    make_job(State.FAILED)
    look()
    age(Alert, breached_since=timedelta(seconds=61))
    look()
    assert kinds(alert) == ["fired"]


def test_it_fires_again_only_after_the_cool_down(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1, cooldown_seconds=600)
    for _ in range(3):
        job = make_job(State.FAILED)
        look()
        job.delete()
        look()
    assert kinds(alert) == ["fired", "recovered"]

    make_job(State.FAILED)
    look()
    alert.refresh_from_db()
    assert alert.state == "pending"
    age(Alert, fired_at=timedelta(seconds=601))
    look()
    assert kinds(alert) == ["fired", "recovered", "fired"]


def test_one_that_is_switched_off_neither_fires_nor_recovers(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1)
    make_job(State.FAILED)
    look()
    enable_alert(command_actor(), alert.pk, False)
    look()
    assert kinds(alert) == ["fired", "closed"]

    enable_alert(command_actor(), alert.pk, True)
    look()
    assert kinds(alert) == ["fired", "closed", "fired"]


def test_many_lookers_write_one_event(look: Callable[[], None]) -> None:
    alert = make_alert(threshold=1, mail_to=["ann@example.org"])
    make_job(State.FAILED)
    others = [LedgerConnection(durable=True) for _ in range(4)]

    def sweep(own: LedgerConnection) -> None:
        from jobs.watch import alerts

        own.use(lambda open_connection: alerts.sweep(open_connection, sweeps.Turn(timezone.now(), timedelta(0))))

    threads = [threading.Thread(target=sweep, args=[own]) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in others:
        own.close()

    assert kinds(alert) == ["fired"]
    assert AlertDelivery.objects.count() == 1


def test_a_change_that_another_has_written_is_not_written_again(look: Callable[[], None]) -> None:
    from jobs.watch import alerts

    alert = make_alert(threshold=1)
    job = make_job(State.FAILED)
    look()
    seen: dict[str, Any] = {
        "id": alert.pk,
        "name": "",
        "queue": "",
        "task": "",
        "threshold": 1,
        "window_seconds": 60,
        "held": 0,
    }
    own = LedgerConnection(durable=True)
    for fires in (True, False):
        late = alerts.Look(**seen, kind="failed", value=1, fires=fires, recovers=not fires)
        for _ in range(2):
            own.use(partial(alerts._change, look=late))
    own.close()
    job.delete()
    look()

    assert kinds(alert) == ["fired", "recovered"]


def test_a_beat_looks_too_when_no_worker_is_left(monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]) -> None:
    monkeypatch.setattr("jobs.watch.lookout.EVERY_SECONDS", 0.05)
    alert = make_alert(kind="waiting", threshold=1)
    make_job(State.QUEUED)
    lookout = Lookout()
    lookout.start()
    try:
        until(lambda: kinds(alert) == ["fired"])
    finally:
        lookout.stop()
        lookout.join()
        lookout.connection.close()


# --- How people are told ---------------------------------------------------------------------------------------------


def test_each_firing_and_recovery_is_told_once_by_each_channel(
    look: Callable[[], None], letters: Letters, receiver: Receiver, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://jobs.example.com"
    alert = make_alert(threshold=1, mail_to=["ann@example.org", "bob@example.org"], webhook_url=receiver.url)
    job = make_job(State.FAILED)
    for _ in range(2):
        look()
    job.delete()
    for _ in range(2):
        look()

    texts = [envelope.content.decode() for envelope in letters.accepted]
    assert [envelope.rcpt_tos for envelope in letters.accepted] == [["ann@example.org", "bob@example.org"]] * 2
    assert "Subject: [Switchyard] Failures is firing" in texts[0]
    assert f"https://jobs.example.com/admin/jobs/alert/{alert.pk}/change/" in texts[0]
    assert "Subject: [Switchyard] Failures has recovered" in texts[1]
    bodies = [json.loads(body) for _, body in receiver.got]
    assert [body["type"] for body in bodies] == ["alert.fired", "alert.recovered"]
    assert bodies[0]["data"]["alert"]["name"] == "Failures"
    assert (bodies[0]["data"]["value"], bodies[0]["data"]["threshold"]) == (1, 1)
    assert set(AlertDelivery.objects.values_list("state", flat=True)) == {"sent"}


def test_a_webhook_is_signed_as_standard_webhooks_say(look: Callable[[], None], receiver: Receiver) -> None:
    alert = make_alert(threshold=1, webhook_url=receiver.url)
    secret = webhook_secret(command_actor(), alert.pk)
    make_job(State.FAILED)
    look()

    headers, body = receiver.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert len(key) >= 24
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - timezone.now().timestamp()) < 300
    assert webhook_secret(command_actor(), alert.pk) == secret
    assert webhook_secret(command_actor(), alert.pk, rotate=True) != secret


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks' own libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'

    found = channels.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_failing_channel_stops_no_other_and_is_tried_again(
    look: Callable[[], None], letters: Letters, receiver: Receiver
) -> None:
    receiver.answers = [500]
    make_alert(threshold=1, mail_to=["ann@example.org"], webhook_url=receiver.url)
    make_job(State.FAILED)
    look()

    webhook = AlertDelivery.objects.get(channel="webhook")
    assert AlertDelivery.objects.get(channel="mail").state == "sent"
    assert (webhook.state, webhook.attempts) == ("waiting", 1)
    assert "500" in webhook.error
    look()
    assert len(receiver.got) == 1  # not before its pause is over
    age(AlertDelivery, next_at=timedelta(minutes=1))
    connection.cursor().execute("UPDATE jobs_effect SET deadline_at = now() - interval '1 s'")
    look()

    webhook.refresh_from_db()
    assert (webhook.state, webhook.attempts, webhook.error) == ("sent", 2, "")
    assert receiver.got[0][1] == receiver.got[1][1]
    assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"]
    assert len(letters.accepted) == 1


def test_a_channel_that_keeps_failing_is_given_up(look: Callable[[], None], receiver: Receiver) -> None:
    receiver.answers = [404] * 20
    make_alert(threshold=1, webhook_url=receiver.url)
    make_job(State.FAILED)
    look()
    for _ in range(delivering.MOST_ATTEMPTS + 2):
        age(AlertDelivery, next_at=timedelta(hours=3))
        delivering.deliver_due()

    delivery = AlertDelivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("failed", delivering.MOST_ATTEMPTS)
    assert "404" in delivery.error


def test_a_mail_that_may_have_arrived_is_sent_with_the_same_message_id(
    look: Callable[[], None], letters: Letters
) -> None:
    letters.step = "die after the text, before storing"
    make_alert(threshold=1, mail_to=["ann@example.org"])
    make_job(State.FAILED)
    look()
    assert AlertDelivery.objects.get().state == "waiting"
    age(AlertDelivery, next_at=timedelta(minutes=1))
    connection.cursor().execute("UPDATE jobs_effect SET deadline_at = now() - interval '1 s'")
    look()

    assert AlertDelivery.objects.get().state == "sent"
    assert letters.seen[0] == letters.seen[1]


def test_recipients_that_are_refused_show(look: Callable[[], None], letters: Letters) -> None:
    make_alert(threshold=1, mail_to=["ann@example.org", "nobody@example.org"])
    make_job(State.FAILED)
    look()

    delivery = AlertDelivery.objects.get()
    assert delivery.state == "sent"
    assert "nobody@example.org: 450" in delivery.error


def test_without_a_mail_server_it_says_what_to_set(look: Callable[[], None], settings: Any) -> None:
    settings.EMAIL_HOST = ""
    make_alert(threshold=1, mail_to=["ann@example.org"])
    make_job(State.FAILED)
    look()

    assert "set EMAIL_URL" in AlertDelivery.objects.get().error


def test_redirects_are_not_followed(look: Callable[[], None], receiver: Receiver) -> None:
    receiver.answers = [302]
    make_alert(threshold=1, webhook_url=receiver.url)
    make_job(State.FAILED)
    look()

    assert len(receiver.got) == 1
    assert AlertDelivery.objects.get().state == "waiting"


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1/x", "http://localhost:1/x", "http://[::1]:1/", "http://0.0.0.0:1/", "http://10.0.0.1/"),
        *("http://169.254.169.254/latest/meta-data", "http://192.168.1.1/", "http://[::ffff:127.0.0.1]:1/"),
        *("http://[64:ff9b::7f00:1]/", "http://[fe80::1]/", "http://2130706433:1/", "http://100.64.0.1/"),
        *("http://[2002:7f00:1::]/", "http://224.0.0.1/"),
    ],
)
def test_a_webhook_reaches_no_private_address(url: str, settings: Any) -> None:
    settings.ALERT_WEBHOOK_HOSTS = []

    with pytest.raises(channels.ChannelUnusable, match="private address"):
        channels.allowed_addresses(url)


def test_a_private_host_is_refused_when_it_is_posted_to(
    look: Callable[[], None], receiver: Receiver, settings: Any
) -> None:
    settings.ALERT_WEBHOOK_HOSTS = []
    make_alert(threshold=1, webhook_url=receiver.url)
    make_job(State.FAILED)
    look()

    assert receiver.got == []
    assert "ALERT_WEBHOOK_HOSTS" in AlertDelivery.objects.get().error


def test_no_secret_is_kept_where_others_read(look: Callable[[], None], receiver: Receiver) -> None:
    alert = make_alert(threshold=1, webhook_url=receiver.url)
    secret = webhook_secret(command_actor(), alert.pk)
    make_job(State.FAILED)
    receiver.answers = [500]
    look()

    effect = Effect.objects.get()
    kept = [*Effect.objects.values_list("target", "error"), *AlertDelivery.objects.values_list("error")]
    assert "secret-path" not in str(kept)
    assert secret not in str([*kept, bytes(effect.request or b""), *Alert.objects.values()])


def test_a_test_goes_through_each_channel_and_changes_no_state(letters: Letters, receiver: Receiver) -> None:
    alert = make_alert(mail_to=["ann@example.org"], webhook_url=receiver.url)

    event = try_alert(command_actor(), alert.pk, wait=True)

    assert [delivery.state for delivery in event.deliveries.all()] == ["sent", "sent"]
    assert b"is being tested" in letters.accepted[0].content
    assert json.loads(receiver.got[0][1])["type"] == "alert.tested"
    alert.refresh_from_db()
    assert alert.state == "ok"


def test_the_sender_is_a_thread_of_its_own(receiver: Receiver, until: Callable[..., Any]) -> None:
    alert = make_alert(webhook_url=receiver.url)
    try_alert(command_actor(), alert.pk)

    until(lambda: AlertDelivery.objects.get().state == "sent")
    sender = delivering._sender
    assert sender is not None
    sender.join()
    assert AlertEvent.objects.get().kind == "tested"


def test_a_worker_tells_of_a_backlog_in_a_queue_that_nobody_serves(
    receiver: Receiver, live_worker: Any, until: Callable[..., Any]
) -> None:
    alert = make_alert(kind="waiting", threshold=1, queue="slow_lane", webhook_url=receiver.url)
    make_job(State.QUEUED, queue="slow_lane")
    live_worker("default", ALERT_WEBHOOK_HOSTS="127.0.0.1")

    until(lambda: receiver.got, 30)
    assert json.loads(receiver.got[0][1])["data"]["alert"]["name"] == alert.name
    until(lambda: AlertDelivery.objects.get().state == "sent")
