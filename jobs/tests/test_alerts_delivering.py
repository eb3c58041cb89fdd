"""How people are told of alerts, by a real mail server and a real webhook receiver."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs.effects import webhooks
from jobs.ledger.connection import effects as effects_connection
from jobs.models import Alert, AlertDelivery, AlertEvent, Effect, State
from jobs.operators.actors import command_actor
from jobs.operators.alerts import try_alert, webhook_secret
from jobs.tests.alerting import age, make_alert
from jobs.tests.factories import make_job
from jobs.tests.receivers import Receiver, receiving
from jobs.tests.test_effects_mail import Letters, OnAnyPort
from jobs.watch import channels, delivering

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALERT_WEBHOOK_HOSTS = ["127.0.0.1"]
    with receiving() as made:
        yield made


@pytest.fixture
def letters(settings: Any) -> Iterator[Letters]:
    made = Letters()
    controller = OnAnyPort(made)
    controller.start()
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", controller.port
    yield made
    controller.stop()


@pytest.fixture(autouse=True)
def _close_effects() -> Iterator[None]:
    yield
    effects_connection().close()


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

    found = webhooks.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_failing_channel_stops_no_other_and_is_tried_again(
    look: Callable[[], None], letters: Letters, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "FIRST_PAUSE", timedelta(hours=1))
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
    age(AlertDelivery, next_at=timedelta(hours=1))
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
    delivery = AlertDelivery.objects.get()
    assert delivery.state == "waiting"
    assert "redirects are not followed; enter that address instead" in delivery.error
    assert "secret-path" not in delivery.error


def test_what_answers_303_is_not_posted_again(look: Callable[[], None], receiver: Receiver) -> None:
    receiver.answers = [303]
    make_alert(threshold=1, webhook_url=receiver.url)
    make_job(State.FAILED)
    look()

    delivery = AlertDelivery.objects.get()
    assert delivery.state == "failed"
    assert "303 See Other at 127.0.0.1: it may have taken the message" in delivery.error
    assert "secret-path" not in delivery.error
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://Hooks.Example/secret", " at hooks.example"),
        ("https://user:word@hooks.example:8443/x?y", " at hooks.example"),
        *((odd, "") for odd in ("/secret", "", "https://[", "https://a b/", "https://<i>/", "https://" + "a" * 300)),
    ],
)
def test_of_an_address_that_is_pointed_to_the_host_alone_is_told(location: str, told: str) -> None:
    assert webhooks.host_of(location) == told


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
