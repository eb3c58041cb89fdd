"""Channels: whose they are, what they take, and that their secrets are told to nobody."""

import base64
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied

from jobs.effects import EffectUncertain, EffectUnknown, Refused
from jobs.ledger.errors import Snooze
from jobs.models import AuditEntry, Effect
from jobs.operators.actors import Actor, command_actor
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused
from jobs.tests.receivers import Receiver, receiving
from reminders.models import Channel, Suppression
from reminders.services import addresses, apprise_targets, channels, delivering, sending, todos
from reminders.services.delivering import DeliveryFailed
from reminders.tests.deliveries import fired, fired_again, let_the_deadline_pass, run_out, tried
from reminders.tests.factories import person
from reminders.tests.post_office import PostOffice

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Given as long as a busy machine may need, and not taken for one that fails slowly."""
    settings.REMINDER_WEBHOOK_HOSTS = ["127.0.0.1"]
    monkeypatch.setattr(sending, "WEBHOOK_SECONDS", 120.0)
    monkeypatch.setattr(sending, "APPRISE_SECONDS", 120.0)
    monkeypatch.setattr(apprise_targets, "CONNECT_SECONDS", 120.0)
    monkeypatch.setattr(apprise_targets, "READ_SECONDS", 120.0)
    monkeypatch.setattr(delivering, "SLOW_SECONDS", 120.0)
    with receiving() as made:
        yield made


def acting(user: Any, *permissions: str) -> Actor:
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return Actor.of_user(type(user).objects.get(pk=user.pk), via="page")


def webhook(user: Any, receiver: Receiver) -> Channel:
    Channel.objects.update_or_create(user=user, kind="mail", defaults={"enabled": False})
    return channels.create_channel(acting(user), user.pk, {"kind": "webhook", "address": receiver.url}).channel


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver checks it, written from the specification of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    wanted = base64.b64encode(hmac.new(key, content, "sha256").digest()).decode()
    return headers["webhook-signature"].split(",") == ["v1", wanted]


# --- Webhooks ---------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_a_signed_message_under_an_id_that_stays(clock: Any, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL = "https://tasks.example"
    ada = person("ada")
    made = channels.create_channel(acting(ada), ada.pk, {"kind": "webhook", "address": receiver.url})
    Channel.objects.create(user=ada, kind="mail", enabled=False)
    delivery = fired(clock, ada, title="Überweisung")
    receiver.answers = [500, 0]
    assert isinstance(tried(delivery), EffectUnknown)
    let_the_deadline_pass(delivery)
    assert isinstance(tried(delivery), EffectUnknown)
    let_the_deadline_pass(delivery)
    assert tried(delivery)["state"] == "sent"

    assert len(receiver.got) == 3
    assert all(is_signed(made.secret, *got) for got in receiver.got)
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {f"msg_reminder_{delivery.pk}"}
    assert len({body for _, body in receiver.got}) == 1
    body = json.loads(receiver.got[0][1])
    row = ada.created_todos.get()
    assert body["type"] == "reminder.due"
    assert body["data"]["recipient"] == {"id": ada.pk, "username": "ada"}
    told = body["data"]["todos"][0]
    assert (told["id"], told["title"], told["due_at"]) == (row.pk, "Überweisung", "2026-03-02T09:00:00+00:00")
    assert told["url"] == f"https://tasks.example/todos/{row.pk}/"
    assert delivery.message_id == f"msg_reminder_{delivery.pk}"


def test_a_receiver_that_is_gone_is_not_asked_again(clock: Any, receiver: Receiver) -> None:
    ada = person()
    channel = webhook(ada, receiver)
    receiver.answers = [404, 410]
    assert isinstance(tried(fired(clock, ada)), DeliveryFailed)
    channel.refresh_from_db()
    assert (channel.enabled, channel.failures) == (True, 1)

    assert isinstance(tried(fired(clock, ada)), DeliveryFailed)
    channel.refresh_from_db()
    assert channel.enabled is False
    assert "410 Gone" in channel.set_aside_because


def test_too_many_requests_means_later(clock: Any, receiver: Receiver) -> None:
    ada = person()
    webhook(ada, receiver)
    delivery = fired(clock, ada)
    receiver.answers = [429]
    assert isinstance(tried(delivery), Refused)
    assert tried(delivery)["state"] == "sent"


def test_a_receiver_that_fails_slowly_is_left_alone_while_others_are_served(
    clock: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = person(), person()
    webhook(ada, receiver)
    webhook(bob, receiver)
    slow, other = fired(clock, ada), fired(clock, ada)
    receiver.answers = [0]
    monkeypatch.setattr(delivering, "SLOW_SECONDS", 0.0)
    assert isinstance(tried(slow), EffectUnknown)

    left_alone = tried(other)
    assert isinstance(left_alone, Snooze)
    assert 200 < left_alone.seconds <= 320
    assert (other.state, other.attempts) == ("pending", 0)
    assert tried(fired(clock, bob))["state"] == "sent"


@pytest.mark.parametrize("how", ["switched off", "account closed"])
def test_what_may_have_arrived_is_not_tried_again_by_a_channel_that_is_closed(
    how: str, clock: Any, receiver: Receiver
) -> None:
    ada = person()
    channel = webhook(ada, receiver)
    delivery = fired(clock, ada)
    receiver.answers = [0]
    assert isinstance(tried(delivery), EffectUnknown)
    let_the_deadline_pass(delivery)
    if how == "switched off":
        channels.disable_channel(acting(ada), channel.pk)
    else:
        type(ada).objects.filter(pk=ada.pk).update(is_active=False)

    assert tried(delivery)["state"] == "dropped"
    assert "it may have arrived, and is not tried again: " in delivery.error
    assert len(receiver.got) == 1


def test_a_redirect_tells_what_to_enter_and_no_secret_path(clock: Any, receiver: Receiver) -> None:
    ada = person()
    channel = webhook(ada, receiver)
    says = "it points to another address at 127.0.0.1, and redirects are not followed; enter that address instead"
    receiver.answers = [302, 302, 307, 308]

    tested = channels.send_test(acting(ada), channel.pk)
    assert tested.answer.startswith("the far side answered 302 Found: ")
    assert (tested.sent, says in tested.answer) == (False, True)
    passing = fired(clock, ada)
    assert isinstance(tried(passing), Refused)
    assert isinstance(tried(passing, last_attempt=True), DeliveryFailed)
    for_good = fired(clock, ada)
    assert isinstance(tried(for_good), DeliveryFailed)

    kept = [passing.error, for_good.error, *Effect.objects.values_list("error", flat=True)]
    assert len(kept) == 5
    assert all(says in text and "secret-path" not in text for text in kept)
    assert len(receiver.got) == 4


def test_what_answers_303_is_posted_again_by_a_person_alone_and_then_as_it_was(clock: Any, receiver: Receiver) -> None:
    ada = person()
    channel = webhook(ada, receiver)
    delivery = fired(clock, ada)
    receiver.answers = [303, 303]

    assert isinstance(tried(delivery), DeliveryFailed)
    assert (delivery.state, len(receiver.got)) == ("failed", 1)
    assert "303 See Other at 127.0.0.1: it may have taken the message, which is not posted again" in delivery.error
    assert "secret-path" not in delivery.error + Effect.objects.get().error
    todos.change(ada.created_todos.get().pk, {"title": "Renamed"})
    channels.retry_delivery(acting(ada, "send_reminder"), delivery.pk)
    let_the_deadline_pass(delivery)
    assert isinstance(tried(delivery), DeliveryFailed)
    let_the_deadline_pass(delivery)
    channels.retry_delivery(acting(ada, "send_reminder"), delivery.pk)
    assert tried(delivery)["state"] == "sent"
    assert len(receiver.got) == 3
    assert len({(headers["webhook-id"], body) for headers, body in receiver.got}) == 1

    receiver.answers = [303]
    answer = channels.send_test(acting(ada), channel.pk).answer
    assert answer.startswith("whether it arrived is not known: SeeOther: the far side answered 303 See Other")
    assert "enter an address that answers 2xx" in answer[:300]


def test_a_webhook_reaches_no_private_address_that_is_not_allowed(
    clock: Any, receiver: Receiver, settings: Any
) -> None:
    ada = person()
    webhook(ada, receiver)
    delivery = fired(clock, ada)
    settings.REMINDER_WEBHOOK_HOSTS = []
    assert isinstance(tried(delivery), DeliveryFailed)
    assert "private address; allow it in REMINDER_WEBHOOK_HOSTS" in delivery.error
    assert receiver.got == []


# --- Apprise ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pushed(settings: Any, receiver: Receiver) -> Any:
    settings.APPRISE_SCHEMES = ["json", "discord", "ntfy"]
    ada = person()
    Channel.objects.create(user=ada, kind="mail", enabled=False)
    url = f"json://user:hidden-word@127.0.0.1:{receiver.port}/hidden-path"
    channels.create_channel(acting(ada), ada.pk, {"kind": "apprise", "address": url})
    return ada


def test_apprise_gets_one_message(clock: Any, receiver: Receiver, pushed: Any) -> None:
    delivery = fired(clock, pushed)
    assert tried(delivery)["state"] == "sent"
    assert tried(delivery)["state"] == "sent"
    (_, body), *rest = receiver.got
    assert rest == []
    assert json.loads(body)["title"] == "Reminder: Water the plants"
    assert "Due on Monday 2 March 2026 at 09:00" in json.loads(body)["message"]


def test_apprise_tells_refusals_from_what_may_have_gone_and_no_secret(
    clock: Any, receiver: Receiver, pushed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    delivery = fired(clock, pushed)
    receiver.answers = [404]
    assert isinstance(tried(delivery), DeliveryFailed)
    assert delivery.error == "the service answered 404"

    unclear = fired_again(clock, pushed.created_todos.get(), 1)
    receiver.answers = [503, 503]
    assert isinstance(run_out(unclear), EffectUncertain)
    assert unclear.state == "uncertain"
    kept = [*Effect.objects.filter(kind="apprise").values_list("target", "error", "context")]
    assert kept
    for secret in ("hidden-word", "hidden-path"):
        assert secret not in str([delivery.error, unclear.error, kept, caplog.text, str(Channel.objects.latest("id"))])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mailto://user:pw@example.org", "scheme of a service in APPRISE_SCHEMES"),
        ("file:///etc/passwd", "scheme of a service"),
        ("json://10.0.0.1/secret", "allow it in REMINDER_WEBHOOK_HOSTS"),
        ("ntfy://10.0.0.1/topic", "allow it in REMINDER_WEBHOOK_HOSTS"),
        ("discord://nonsense", "no URL that Apprise takes"),
        ("discord://1234567890/abcdefghij?template=/etc/passwd", "parameter 'template'"),
        ("discord://1234567890/abc def", "spaces"),
        ("discord://[", "not a well-formed URL"),
        ("", "scheme of a service"),
        ("discord://" + "x" * 3000, "takes up to 2,000"),
    ],
)
def test_apprise_takes_allowed_services_alone(settings: Any, url: str, why: str) -> None:
    settings.APPRISE_SCHEMES = ["json", "discord", "ntfy"]
    ada = person()
    with pytest.raises(SettingsRefused, match=why) as refused:
        channels.create_channel(acting(ada), ada.pk, {"kind": "apprise", "address": url})
    assert "secret" not in str(refused.value)


# --- Entering and changing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "kind: is missing; choose from: mail, webhook, apprise"),
        ({"kind": "pigeon"}, "kind: is 'pigeon'; choose from"),
        ({"kind": "mail", "address": "nobody"}, "address: the mail address is not well-formed"),
        ({"kind": "mail", "address": "a@b.example\nBcc: x@y.example"}, "not well-formed"),
        ({"kind": "mail", "address": '"ab"@example.org'}, "not every mail server takes"),
        ({"kind": "mail", "secret": "whsec_x"}, "secret: only a webhook has one"),
        ({"kind": "mail", "address": "x\x00"}, "cannot be stored"),
        ({"kind": "webhook", "address": ""}, "must begin with https://"),
        ({"kind": "webhook", "address": "http://example.org/"}, "http is for hosts in REMINDER_WEBHOOK_HOSTS"),
        ({"kind": "webhook", "address": "https://169.254.169.254/"}, "private address"),
        ({"kind": "webhook", "address": "https://u:p@example.org/"}, "must not hold a user"),
        ({"kind": "webhook", "address": "https://1.1.1.1/", "secret": "short"}, "secret: is no secret of a webhook"),
        ({"kind": "webhook", "address": "https://1.1.1.1/", "failures": 0}, "failures: unknown setting"),
        ({"kind": "webhook", "address": 7}, "address: is 7; it takes a text"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], why: str) -> None:
    ada = person()
    with pytest.raises(SettingsRefused) as refused:
        channels.create_channel(acting(ada), ada.pk, given)
    assert why in str(refused.value)
    assert not Channel.objects.exists()


def test_a_person_has_their_own_channels_and_an_operator_all() -> None:
    ada, bob, root = person(), person(), person()
    given = {"kind": "webhook", "address": "https://1.1.1.1/hidden", "label": "on call"}
    made = channels.create_channel(acting(ada), ada.pk, given).channel

    assert list(channels.channels(acting(bob))) == []
    with pytest.raises(NotHere):
        channels.disable_channel(acting(bob), made.pk)
    with pytest.raises(PermissionDenied):
        channels.create_channel(acting(bob), ada.pk, given)
    with pytest.raises(PermissionDenied):
        channels.change_channel(acting(root, "view_channel"), made.pk, {"label": "x"})
    assert channels.change_channel(acting(root, "change_channel"), made.pk, {"label": "x"}).label == "x"
    assert not channels.disable_channel(acting(ada), made.pk).enabled
    assert channels.enable_channel(acting(ada), made.pk).enabled
    channels.delete_channel(acting(ada), made.pk)
    actions = [entry.action for entry in AuditEntry.objects.order_by("id")]
    assert actions == [f"channel.{verb}" for verb in ("create", "change", "disable", "enable", "delete")]
    assert "hidden" not in str(list(AuditEntry.objects.values()))


def test_a_secret_is_told_once_and_replaced() -> None:
    ada = person()
    made = channels.create_channel(acting(ada), ada.pk, {"kind": "webhook", "address": "https://1.1.1.1/"})
    assert made.secret.startswith("whsec_")
    replaced = channels.new_secret(acting(ada), made.channel.pk)
    assert replaced != made.secret
    assert addresses.secret_of(Channel.objects.get()) == base64.b64decode(replaced[6:])
    with pytest.raises(SettingsRefused, match="a webhook needs one"):
        channels.change_channel(acting(ada), made.channel.pk, {"secret": ""})


def test_there_is_one_channel_for_mail_and_ten_in_all() -> None:
    ada = person()
    actor = acting(ada)
    mail = channels.create_channel(actor, ada.pk, {"kind": "mail"}).channel
    with pytest.raises(SettingsRefused, match="for mail already"):
        channels.create_channel(actor, ada.pk, {"kind": "mail"})
    with pytest.raises(channels.ChannelRefused, match="disable it"):
        channels.delete_channel(actor, mail.pk)
    for _ in range(9):
        channels.create_channel(actor, ada.pk, {"kind": "webhook", "address": "https://1.1.1.1/"})
    with pytest.raises(SettingsRefused, match="10 channels already"):
        channels.create_channel(actor, ada.pk, {"kind": "webhook", "address": "https://1.1.1.1/"})


# --- Trying and lifting -----------------------------------------------------------------------------------------------


def test_a_test_tells_what_came_of_it(
    office: PostOffice, receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "TEST_PAUSE_SECONDS", 600)
    ada = person()
    mail = channels.create_channel(acting(ada), ada.pk, {"kind": "mail"}).channel
    tested = channels.send_test(acting(ada), mail.pk)
    assert (tested.sent, office.mails[0]["Message-ID"] in tested.answer) == (True, True)
    with pytest.raises(channels.ChannelRefused, match="wait 600 seconds"):
        channels.send_test(acting(ada), mail.pk)

    hook = channels.create_channel(acting(ada), ada.pk, {"kind": "webhook", "address": receiver.url}).channel
    receiver.answers = [404]
    assert channels.send_test(acting(ada), hook.pk) == channels.Tested(False, "the far side answered 404 Not Found")
    assert json.loads(receiver.got[0][1])["type"] == "reminder.test"

    settings.EMAIL_HOST = ""
    other = person()
    theirs = channels.create_channel(acting(other), other.pk, {"kind": "mail"}).channel
    told = channels.send_test(command_actor(), theirs.pk)
    assert (told.sent, "set EMAIL_URL" in told.answer) == (False, True)


def test_a_person_lifts_their_own_address_and_an_operator_any() -> None:
    ada, bob = person(), person()
    rows = [Suppression.objects.create(address=who.email, reason="550") for who in (ada, bob)]

    with pytest.raises(NotHere):
        channels.lift_suppression(acting(ada), rows[1].pk)
    with pytest.raises(PermissionDenied):
        channels.lift_suppression(acting(ada, "view_suppression"), rows[1].pk)
    channels.lift_suppression(acting(ada), rows[0].pk)
    channels.lift_suppression(command_actor(), rows[1].pk)
    assert not Suppression.objects.exists()
    assert AuditEntry.objects.filter(action="suppression.lift").count() == 2
