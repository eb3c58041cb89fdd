"""Addresses of mail that are not the account's own: asked by a mail with a link, and used once they are confirmed.

Otherwise anybody could have reminders sent to anybody. What is asked says nothing that its sender could choose.
"""

from datetime import timedelta
from email.message import EmailMessage
from typing import Any

from django.db import connection, transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.template.loader import render_to_string

from jobs.effects import EffectUncertain, EffectUnknown, NotDone, Refused
from jobs.effects.webhooks import ChannelUnusable
from jobs.ledger.errors import Snooze
from jobs.ledger.run import current_run
from jobs.operators.actors import Actor
from reminders import moment
from reminders.models import Channel, ChannelKind, ConfirmationMail
from reminders.services import addresses, delivering, links, sending
from reminders.services.links import Action, Link

A_DAY = timedelta(days=1)
#: Within a day, to one address, whoever asks; and for one person, to whatever addresses.
MOST_TO_ADDRESS = 3
MOST_OF_PERSON = 10
#: While the mail server is away it waits so long, and is given up after a day.
WAIT_SECONDS = 120.0
_LOCK = 5_301_775

WAITS = "waits for confirmation"
#: Said alike of an address that is suppressed and of one that refuses: nobody learns of another's which it is.
NOT_TAKEN = "no mail is taken for this address; enter another one, or ask whoever runs this installation"
#: As whom the audit knows whoever followed the link, who need not be the account's person.
ADDRESS_OWNER = "the owner of its address"
LONGEST_ERROR = 1_000
#: Of a mail what `words` tells; is_open: whether it is on its way.
_TOLD = JSONObject(error="error", is_open=Q(sent_at=None, error=""))


class NotAsked(ValueError):
    """No mail goes out that asks for confirmation; the message says why."""


# --- What waits -------------------------------------------------------------------------------------------------------


def own_address(channel: Channel) -> str:
    """A mail channel's own address; empty where it has none, or none that can be read."""
    if channel.kind != ChannelKind.MAIL or not channel.address:
        return ""
    try:
        return addresses.plain(addresses.mail_address(channel))
    except ChannelUnusable:
        return ""


def note_address(channel: Channel, former: str) -> bool:
    """Have a channel wait if it was given an address that is not its account's; to be saved by the caller.

    former: its `own_address` before; empty to have it wait anew. Returns whether its owner is to be asked.
    """
    address = own_address(channel)
    if (address and address == former) or _is_unreadable(channel):
        return False
    channel.waits_since = moment.now() if address and address != addresses.plain(channel.user.email) else None
    return channel.waits_since is not None


def _is_unreadable(channel: Channel) -> bool:
    return channel.kind == ChannelKind.MAIL and bool(channel.address) and not own_address(channel)


def is_of(link: Link, channel: Channel) -> bool:
    """Whether a link was mailed to the present address of its channel."""
    try:
        return link.version == addresses.version_of(addresses.mail_address(channel))
    except ChannelUnusable:
        return False


def may_subscribe(link: Link, channel: Channel) -> bool:
    """Whether a link that undoes an unsubscription was made for whoever has the present address."""
    return own_address(channel) in ("", addresses.plain(channel.user.email)) or is_of(link, channel)


def words(channel: Channel) -> str:
    """How it stands with a channel's confirmation; empty where none is waited for."""
    if channel.waits_since is None:
        return ""
    newest = _newest_mail(channel)
    if newest is None:
        return f"{WAITS}, and no mail that asks for it was sent; have it sent once more"
    if newest["error"]:
        return f"{WAITS}; the mail that asks for it was not sent: {newest['error']}"
    if newest["is_open"]:
        return f"{WAITS}; the mail that asks for it is on its way"
    return f"{WAITS}: follow the link in the mail that was sent to the address"


def with_newest_mail(rows: "QuerySet[Channel]") -> "QuerySet[Channel]":
    """Channels with what `words` tells of them, had by the same query."""
    mails = _mails(OuterRef("pk"), OuterRef("waits_since"))
    return rows.annotate(newest_mail=Subquery(mails.values(told=_TOLD)[:1]))


def _newest_mail(channel: Channel) -> dict[str, Any] | None:
    if hasattr(channel, "newest_mail"):
        kept: dict[str, Any] | None = channel.newest_mail
        return kept
    return _mails(channel.pk, channel.waits_since).values_list(_TOLD, flat=True).first()


def _mails(channel: Any, since: Any) -> "QuerySet[ConfirmationMail]":
    """Of its present wait, the newest first."""
    return ConfirmationMail.objects.filter(channel=channel, created_at__gte=since).order_by("-id")


def confirm(link: Link) -> bool:
    """Its address may be used. Returns False, changing nothing, if the link is of another address or none waits.

    The audit names the address' owner, as the account need not be theirs.
    """
    with transaction.atomic():
        rows = Channel.objects.select_for_update(of=("self",)).select_related("user")
        channel = rows.filter(pk=link.target, user=link.person).first()
        if channel is None or channel.waits_since is None or not is_of(link, channel):
            return False
        channel.waits_since = None
        channel.save(update_fields=["waits_since"])
        owner = Actor(ADDRESS_OWNER, via="link")
        owner.record("channel.confirm", channel.pk, person=channel.user.get_username())
    return True


# --- Asking -----------------------------------------------------------------------------------------------------------


def ask(channel: Channel) -> None:
    """Have the owner of its address asked by mail, in the caller's transaction. Raises NotAsked."""
    from reminders.tasks import ask_to_confirm

    if channel.waits_since is None:
        raise NotAsked("its address waits for no confirmation")
    if not links.base():
        raise NotAsked("PUBLIC_URL is not set, so a mail could hold no link; whoever runs this installation can set it")
    if not sending.has_mail_server():
        raise NotAsked(sending.NO_MAIL_SERVER)
    try:
        address = addresses.sendable(addresses.mail_address(channel))
    except ChannelUnusable as exc:
        raise NotAsked(str(exc)) from None
    # Whether it is suppressed is looked at when the mail is due, and told as a refusal is.
    digest = addresses.digest(address)
    with transaction.atomic():
        _require_room(channel, digest)
        row = ConfirmationMail.objects.create(
            user_id=channel.user_id, channel=channel, address_digest=digest, created_at=moment.now()
        )
        row.job_id = ask_to_confirm.delay(row.pk).id
        row.save(update_fields=["job_id"])


def ask_or_note(channel: Channel) -> None:
    """The same, or write down why it is not asked, for `words` to tell; in the caller's transaction."""
    try:
        ask(channel)
    except NotAsked as exc:
        # One row a channel, however often it is changed.
        ConfirmationMail.objects.filter(channel=channel.pk, job_id="").delete()
        ConfirmationMail.objects.create(
            user_id=channel.user_id,
            channel=channel,
            address_digest=addresses.digest(own_address(channel)),
            created_at=moment.now(),
            error=str(exc)[:LONGEST_ERROR],
        )


def _require_room(channel: Channel, digest: bytes) -> None:
    """Raises NotAsked. Locked by address until the transaction ends, so that no two pass at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, int.from_bytes(digest[:4], signed=True)])
    newest = ConfirmationMail.objects.filter(created_at__gt=moment.now() - A_DAY).exclude(job_id="")
    if newest.filter(address_digest=digest).count() >= MOST_TO_ADDRESS:
        raise NotAsked(f"{MOST_TO_ADDRESS} such mails went to this address within a day; wait until tomorrow")
    if newest.filter(user=channel.user_id).count() >= MOST_OF_PERSON:
        raise NotAsked(f"{MOST_OF_PERSON} such mails were sent for this account within a day; wait until tomorrow")


# --- The mail ---------------------------------------------------------------------------------------------------------


def send(mail_id: int) -> dict[str, Any]:
    """Hand one such mail over, once, however often this is run. Returns what became of it.

    Raises what its job is to try again, until its last attempt.
    """
    row = ConfirmationMail.objects.select_related("channel__user").filter(pk=mail_id).first()
    if row is None or row.sent_at is not None or row.error:
        return {"mail": mail_id, "note": "it had come to its end before"}
    channel = row.channel
    if channel is None or channel.waits_since is None or not channel.user.is_active:
        return _end(row, "it is not waited for any more")
    try:
        address = addresses.mail_address(channel)
        if addresses.digest(address) != bytes(row.address_digest):
            return _end(row, "the address was changed since")
        if sending.suppression(address) is not None:
            return _end(row, NOT_TAKEN)
        sending.require_mail_server()
        sending.hand_over(key_of(row.pk), _message(row, channel, address))
    except delivering.SIGNALS:
        raise
    except Exception as exc:
        return _settle_failure(row, exc)
    ConfirmationMail.objects.filter(pk=row.pk).update(sent_at=moment.now(), error="")
    return {"mail": row.pk, "state": "sent"}


def key_of(mail_id: int) -> str:
    """Of its outside effect."""
    return f"reminder-confirm:{mail_id}"


def _settle_failure(row: ConfirmationMail, exc: Exception) -> dict[str, Any]:
    """End it, or raise what has its job try again. What may pass, such as greylisting, ends it at the last attempt."""
    told = delivering.told_of(exc)
    run = current_run()
    is_last = run is not None and not run.has_attempts_left
    if isinstance(exc, sending.MailServerAway):
        if moment.now() - row.created_at > A_DAY:
            return _end(row, told)
        raise Snooze(WAIT_SECONDS, told) from exc
    if isinstance(exc, EffectUnknown) and is_last:
        # The next run finds out; it must not be missing for want of attempts.
        raise Snooze(WAIT_SECONDS, told) from exc
    if isinstance(exc, Refused) and delivering.is_no_such_address(exc):
        return _end(row, NOT_TAKEN)
    if not (is_last or isinstance(exc, EffectUncertain) or delivering.is_final(exc)):
        raise exc
    ended = _end(row, told)
    if not isinstance(exc, NotDone | ChannelUnusable | EffectUncertain):
        raise exc
    return ended


def _end(row: ConfirmationMail, why: str) -> dict[str, Any]:
    ConfirmationMail.objects.filter(pk=row.pk, sent_at=None).update(error=why[:LONGEST_ERROR])
    return {"mail": row.pk, "state": "not sent", "why": why}


def _message(row: ConfirmationMail, channel: Channel, address: str) -> EmailMessage:
    from reminders.services import rendering

    known_as = f"<confirm.{row.pk}.{int(row.created_at.timestamp())}@{rendering.domain()}>"
    message = rendering.bare_mail(addresses.sendable(address), known_as)
    message["Subject"] = "Confirm this address for reminders"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    values = {
        "username": channel.user.get_username(),
        "base": links.base(),
        "link": links.url(Link(Action.CONFIRM, channel.user_id, channel.pk, addresses.version_of(address))),
        "days": links.valid_for(Action.CONFIRM).days,
    }
    message.set_content(render_to_string("reminders/mail/confirm.txt", values))
    return message
