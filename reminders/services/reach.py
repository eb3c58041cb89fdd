"""How somebody would be reached now, and what would hold a reminder: looked at, with nothing made or changed."""

from datetime import datetime
from typing import Any

from reminders.models import Channel, ChannelKind, Suppression
from reminders.services import confirming, outbox, sending
from reminders.services.outbox import Recipient
from reminders.services.planning import default_preferences


def of(user: Any) -> Recipient:
    """As a scan would see the person, who need not have a channel yet; without mail where there is no server for it."""
    kept = getattr(user, "reminder_preferences", None) or default_preferences(user)
    if not user.is_active:
        return Recipient(kept, [], "the account is closed")
    channels = channels_of(user)
    usable = [channel for channel in channels if outbox.is_usable(channel, user)]
    if usable and all(map(_lacks_server, usable)):
        return Recipient(kept, [], sending.NO_MAIL_SERVER)
    served = [channel for channel in usable if not _lacks_server(channel)]
    return Recipient(kept, served, "" if served else outbox.why_unreachable(channels, user))


def channels_of(user: Any) -> list[Channel]:
    """Those that are, and the one by mail that would be made."""
    channels = list(Channel.objects.filter(user=user).order_by("id"))
    for channel in channels:
        channel.user = user
    if user.email and not any(channel.kind == ChannelKind.MAIL for channel in channels):
        channels.append(Channel(user=user, kind=ChannelKind.MAIL))
    return channels


def channel_words(channel: Channel, user: Any) -> str:
    """One way to somebody, and whether it is open, in a sentence without its address."""
    name = f"{channel.kind} ({channel.label})" if channel.label else str(channel.kind)
    if channel.is_on and channel.waits_since is not None:
        return f"Nothing is sent by {name}: it {confirming.words(channel)}."
    if not outbox.is_usable(channel, user):
        told = outbox.why_unreachable([channel], user).removeprefix(f"{channel.kind}: ")
        return f"Nothing is sent by {name}: {told}."
    if _lacks_server(channel):
        return f"Nothing is sent by {name}: {sending.NO_MAIL_SERVER}."
    refused = suppression_of(channel, user)
    if refused is not None:
        return f"Nothing is sent by {name}: the address is suppressed, as it refused mail: {refused.reason}"
    return f"Reminders are sent by {name}."


def is_open(channel: Channel, user: Any) -> bool:
    """Whether what is sent by it now is handed over, as far as one can tell without trying."""
    if not outbox.is_usable(channel, user) or _lacks_server(channel):
        return False
    return suppression_of(channel, user) is None


def _lacks_server(channel: Channel) -> bool:
    return channel.kind == ChannelKind.MAIL and not sending.has_mail_server()


def suppression_of(channel: Channel, user: Any) -> Suppression | None:
    """Why its address takes no mail. Of one that waits to be confirmed nothing is told: it may be somebody else's."""
    if channel.kind != ChannelKind.MAIL or channel.waits_since is not None:
        return None
    return sending.suppression(str(channel.address.reveal() if channel.address else user.email))


def why_held(way: Recipient, at: datetime) -> str:
    """What holds a reminder that fires at an instant."""
    paused = way.preferences.paused_until
    return "reminders are paused" if paused is not None and paused > at else "quiet hours"
