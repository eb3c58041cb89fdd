"""The ways by which people are reminded: entered, changed, tried, switched on and off; refused addresses; retries."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from jobs import rates
from jobs.effects import webhooks
from jobs.effects.webhooks import ChannelUnusable
from jobs.models import EffectState
from jobs.operators.actors import Actor
from jobs.operators.effects import EffectNotChanged, decide_effect
from jobs.operators.lookups import find
from jobs.operators.settings import Settings, SettingsRefused, apply
from jobs.secrets import Secret
from reminders.models import (
    Channel,
    ChannelKind,
    DeliveryState,
    ReminderDelivery,
    Suppression,
)
from reminders.services import confirming, outbox_rows, sending
from reminders.services.addresses import check_address, mail_address, suppressed_as
from reminders.services.confirming import NotAsked

MOST_CHANNELS = 10
#: The same way entered again so soon is the same form.
TWICE_WITHIN = timedelta(seconds=30)
#: Whoever presses the button again at once gets no second message.
TEST_PAUSE_SECONDS = 10
SETTINGS = Settings(Channel, ("kind", "label", "address", "secret", "enabled"))


class ChannelRefused(ValueError):
    """It cannot be done to this channel or delivery as it is; the message says why, and what to do."""


@dataclass(frozen=True)
class Created:
    """secret: what a webhook's messages are signed with; shown this once. Empty for other kinds."""

    channel: Channel
    secret: str = ""


@dataclass(frozen=True)
class Tested:
    """sent: whether the far side took it. answer: what it said, or what went wrong and what to do."""

    sent: bool
    answer: str


# --- Whose ------------------------------------------------------------------------------------------------------------


def channels(actor: Actor) -> "QuerySet[Channel]":
    """Those that the actor may see, in no order: their own; all with reminders.view_channel or change_channel."""
    rows = Channel.objects.select_related("user")
    if actor.may("reminders.view_channel") or actor.may("reminders.change_channel"):
        return rows
    return rows.filter(user=actor.user) if _is_person(actor) else rows.none()


def find_channel(actor: Actor, channel_id: int) -> Channel:
    """One that the actor may see. Raises NotHere."""
    return find(channels(actor), channel_id, "channel")


def _is_person(actor: Actor) -> bool:
    return bool(actor.user is not None and actor.user.is_authenticated and actor.user.is_active)


def _require(actor: Actor, person_id: int, permission: str = "change_channel") -> None:
    """Raises PermissionDenied unless it is the actor's own, or the actor may change those of all."""
    if not (_is_person(actor) and actor.user.pk == person_id):
        actor.require(f"reminders.{permission}")


def _locked(actor: Actor, channel_id: int) -> Channel:
    """To be changed, in a transaction. Raises NotHere, PermissionDenied."""
    find_channel(actor, channel_id)
    channel = find(Channel.objects.select_for_update(of=("self",)).select_related("user"), channel_id, "channel")
    _require(actor, channel.user_id)
    return channel


# --- Entering and changing --------------------------------------------------------------------------------------------


def create_channel(actor: Actor, person_id: int, given: Mapping[str, Any]) -> Created:
    """A new way to a person. given: kind, address, and perhaps label, secret and enabled.

    A webhook without a secret gets one. The owner of a mail address that is not the account's is asked first; where
    that cannot be, `confirming.words` tells why. Raises PermissionDenied (reminders.add_channel, for others), NotHere,
    SettingsRefused.
    """
    _require(actor, person_id, "add_channel")
    values = SETTINGS.read(given)
    if "kind" not in values:
        raise SettingsRefused({"kind": f"is missing; choose from: {', '.join(ChannelKind.values)}"})
    if values["kind"] == ChannelKind.WEBHOOK and not values.get("secret"):
        values["secret"] = Secret(webhooks.new_secret())
    people = get_user_model()._default_manager
    with transaction.atomic():
        # Locked, so that two requests at once do not pass the limit; a scan that writes to this person does not wait.
        person = find(people.select_for_update(no_key=True), person_id, "account")
        if Channel.objects.filter(user=person).count() >= MOST_CHANNELS:
            raise SettingsRefused({"kind": f"there are {MOST_CHANNELS} channels already; delete one first"})
        channel = Channel(user=person)
        changed = apply(channel, values)
        check_address(channel)
        is_asked = confirming.note_address(channel, former="")
        _save(channel)
        actor.record("channel.create", channel.pk, person=person.get_username(), **changed)
        if is_asked:
            confirming.ask_or_note(channel)
    # Who may add channels for others need not be allowed to see them.
    made = Channel.objects.select_related("user").get(pk=channel.pk)
    return Created(made, str(made.secret.reveal()))


def create_channel_once(actor: Actor, given: Mapping[str, Any]) -> Created:
    """One's own, as `create_channel`, but for a form that is sent twice: it makes one, whose secret is told anew.

    given: kind, label and address, each a text.
    """
    people = get_user_model()._default_manager
    with transaction.atomic():
        people.select_for_update(no_key=True).filter(pk=actor.user.pk).values_list("pk").first()
        found = Channel.objects.filter(user=actor.user, kind=given["kind"], label=given["label"].strip())
        for twin in found.filter(created_at__gte=timezone.now() - TWICE_WITHIN).select_related("user"):
            if twin.address == Secret(given["address"].strip()):
                is_webhook = twin.kind == ChannelKind.WEBHOOK
                return Created(twin, new_secret(actor, twin.pk) if is_webhook else "")
        return create_channel(actor, int(actor.user.pk), given)


def change_channel(actor: Actor, channel_id: int, given: Mapping[str, Any]) -> Channel:
    """Change what is named: label, address, secret, enabled. Another address is no longer set aside.

    The owner of another mail address that is not the account's is asked first, as of a new channel. Raises
    PermissionDenied, NotHere, SettingsRefused.
    """
    values = SETTINGS.read(given)
    with transaction.atomic():
        channel = _locked(actor, channel_id)
        if values.get("kind", channel.kind) != channel.kind:
            raise SettingsRefused({"kind": f"it is {channel.kind}, which stays; enter another channel"})
        if channel.kind == ChannelKind.WEBHOOK and "secret" in values and not values["secret"]:
            raise SettingsRefused({"secret": "a webhook needs one; leave it out to keep it, or have a new one made"})
        former = confirming.own_address(channel)
        changed = apply(channel, values)
        check_address(channel)
        if "address" in changed or changed.get("enabled") == [False, True]:
            _clear(channel)
        is_asked = confirming.note_address(channel, former)
        if changed:
            _save(channel)
            actor.record("channel.change", channel.pk, **changed)
        if is_asked:
            confirming.ask_or_note(channel)
    return find_channel(actor, channel_id)


def new_secret(actor: Actor, channel_id: int) -> str:
    """Replace what a webhook signs with; the former one does not count any more. Returns it, this once.

    Raises PermissionDenied, NotHere, ChannelRefused for another kind.
    """
    with transaction.atomic():
        channel = _locked(actor, channel_id)
        if channel.kind != ChannelKind.WEBHOOK:
            raise ChannelRefused(f"channel {channel.pk} is {channel.kind}; only a webhook signs with a secret")
        secret = webhooks.new_secret()
        channel.secret = secret
        channel.save(update_fields=["secret"])
        actor.record("channel.new_secret", channel.pk)
    return secret


def enable_channel(actor: Actor, channel_id: int) -> Channel:
    """Use it again, whatever kept it from being used: switched off, set aside or unsubscribed.

    Who unsubscribed a mail address that is not the account's may be its owner: they are asked anew, and it waits for
    that. Raises PermissionDenied, NotHere.
    """
    with transaction.atomic():
        channel = _locked(actor, channel_id)
        was = {"enabled": channel.enabled, "set_aside": channel.set_aside_because}
        was["unsubscribed"] = channel.unsubscribed_at is not None
        is_asked = was["unsubscribed"] and confirming.note_address(channel, former="")
        channel.enabled, channel.unsubscribed_at = True, None
        _clear(channel)
        _save(channel)
        actor.record("channel.enable", channel.pk, was=was)
        if is_asked:
            confirming.ask_or_note(channel)
    return find_channel(actor, channel_id)


def disable_channel(actor: Actor, channel_id: int) -> Channel:
    """Switch it off: nothing goes there until it is enabled. Raises PermissionDenied, NotHere."""
    with transaction.atomic():
        channel = _locked(actor, channel_id)
        if channel.enabled:
            channel.enabled = False
            _save(channel)
            actor.record("channel.disable", channel.pk)
    return find_channel(actor, channel_id)


def delete_channel(actor: Actor, channel_id: int) -> None:
    """Delete it, with the record of what it delivered. Raises PermissionDenied, NotHere, ChannelRefused for mail,
    which would come back by itself.
    """
    with transaction.atomic():
        outbox_rows.alone()
        channel = _locked(actor, channel_id)
        if channel.kind == ChannelKind.MAIL and channel.user.email:
            raise ChannelRefused("mail is how everybody with an address is reached; disable it to get none")
        actor.record("channel.delete", channel.pk, kind=channel.kind, person=channel.user.get_username())
        channel.delete()


def ask_again(actor: Actor, channel_id: int) -> Channel:
    """Send the mail once more that asks the owner of an address to confirm it, who alone can.

    Raises PermissionDenied, NotHere, ChannelRefused.
    """
    with transaction.atomic():
        channel = _locked(actor, channel_id)
        try:
            confirming.ask(channel)
        except NotAsked as exc:
            raise ChannelRefused(f"channel {channel.pk}: {exc}") from None
        actor.record("channel.ask", channel.pk)
    return find_channel(actor, channel_id)


def _clear(channel: Channel) -> None:
    channel.failures, channel.set_aside_at, channel.set_aside_because = 0, None, ""


def _save(channel: Channel) -> None:
    try:
        with transaction.atomic():
            channel.save()
    except IntegrityError:
        raise SettingsRefused({"kind": "there is a channel for mail already; change that"}) from None


# --- Trying -----------------------------------------------------------------------------------------------------------


def send_test(actor: Actor, channel_id: int) -> Tested:
    """Send a test message now, and tell what came of it. Raises PermissionDenied, NotHere, ChannelRefused."""
    channel = find_channel(actor, channel_id)
    _require(actor, channel.user_id)
    if channel.waits_since is not None:
        waits = confirming.words(channel)
        raise ChannelRefused(f"channel {channel.pk} {waits}; until then nothing else is sent to it")
    if not caches[rates.CACHE].add(f"reminders:test:{channel.pk}", 1, TEST_PAUSE_SECONDS):
        raise ChannelRefused(f"channel {channel.pk} was tried a moment ago; wait {TEST_PAUSE_SECONDS} seconds")
    tested = Tested(*sending.send_test(channel))
    actor.record("channel.test", channel.pk, sent=tested.sent)
    return tested


# --- What was refused -------------------------------------------------------------------------------------------------


def suppressions(actor: Actor) -> "QuerySet[Suppression]":
    """Addresses that take no mail, in no order; a person sees their own. Operators: reminders.view_suppression."""
    rows = Suppression.objects.all()
    if actor.may("reminders.view_suppression") or actor.may("reminders.delete_suppression"):
        return rows
    if not _is_person(actor):
        return rows.none()
    return rows.filter(address__in=[address for address in _mail_addresses(actor.user) if address])


def _mail_addresses(user: Any) -> list[str]:
    # Whose address waits to be confirmed, may not be theirs.
    theirs = Channel.objects.filter(user=user, kind=ChannelKind.MAIL, waits_since=None).select_related("user")
    found = [str(user.email)]
    for channel in theirs:
        with contextlib.suppress(ChannelUnusable):
            found.append(mail_address(channel))
    return [suppressed_as(address) for address in found]


def lift_suppression(actor: Actor, suppression_id: int) -> Suppression:
    """Mail the address again. Raises NotHere, PermissionDenied (reminders.delete_suppression, or the own address)."""
    with transaction.atomic():
        row = find(suppressions(actor).select_for_update(), suppression_id, "suppressed address")
        if not (_is_person(actor) and row.address in _mail_addresses(actor.user)):
            actor.require("reminders.delete_suppression")
        actor.record("suppression.lift", row.address, reason=row.reason)
        Suppression.objects.filter(pk=row.pk).delete()
    return row


# --- Once more --------------------------------------------------------------------------------------------------------


def retry_delivery(actor: Actor, delivery_id: int) -> ReminderDelivery:
    """Send again what failed, by a new job: anew where it surely never went, else the same bytes and Message-ID.

    One that may have gone (uncertain) is taken for not sent, so it may come twice; that takes jobs.decide_effect too.
    Raises NotHere, PermissionDenied (reminders.send_reminder, unless it is the actor's), ChannelRefused.
    """
    from reminders.services import delivering

    rows = ReminderDelivery.objects.select_related("channel__user")
    if not (actor.may("reminders.view_reminderdelivery") or actor.may("reminders.send_reminder")):
        rows = rows.filter(recipient=actor.user) if _is_person(actor) else rows.none()
    with transaction.atomic():
        delivery = find(rows.select_for_update(of=("self",)), delivery_id, "delivery")
        _require(actor, delivery.recipient_id, "send_reminder")
        if delivery.state not in (DeliveryState.FAILED, DeliveryState.UNCERTAIN):
            raise ChannelRefused(f"delivery {delivery.pk} is {delivery.state}; only a failed one is sent again")
        why = sending.why_unusable(delivery.channel)
        if why:
            raise ChannelRefused(f"its channel cannot be used: {why}")
        _decide(actor, delivery)
        was, delivery.state, delivery.error = delivery.state, DeliveryState.PENDING, ""
        delivering.send_anew(delivery)
        actor.record("delivery.retry", delivery.pk, was=was)
    return delivery


def _decide(actor: Actor, delivery: ReminderDelivery) -> None:
    """Say of one that may have gone that it did not. A webhook's receiver knows a second copy by its id.

    Raises PermissionDenied, ChannelRefused.
    """
    known = sending.effect_of(delivery.pk)
    if known is None or known.state != EffectState.UNCERTAIN:
        return
    if delivery.state != DeliveryState.UNCERTAIN and delivery.channel.kind == ChannelKind.WEBHOOK:
        return
    try:
        decide_effect(actor, known.pk, happened=False, reason="to be sent again")
    except EffectNotChanged as exc:
        raise ChannelRefused(str(exc)) from None
