"""What the page of preferences shows of the ways to somebody."""

from dataclasses import dataclass
from typing import Any

from reminders.models import Channel, ChannelKind, Suppression
from reminders.services import reach

NAMES = {ChannelKind.MAIL: "Mail", ChannelKind.WEBHOOK: "Webhook", ChannelKind.APPRISE: "Apprise"}


@dataclass(frozen=True)
class Way:
    """One channel as its person sees it. number: 0 for mail that nothing was set of. words: whether it is used."""

    channel: Channel
    number: int
    name: str
    is_used: bool
    words: str
    suppression: Suppression | None

    @property
    def is_webhook(self) -> bool:
        return self.channel.kind == ChannelKind.WEBHOOK

    @property
    def waits(self) -> bool:
        """For its address to be confirmed."""
        return self.channel.waits_since is not None

    @property
    def may_be_own(self) -> bool:
        """Whether it has an address in the place of the account's."""
        return self.channel.kind == ChannelKind.MAIL and bool(self.channel.address and self.channel.user.email)

    @property
    def may_go(self) -> bool:
        """Mail comes back by itself, and is switched off instead."""
        return self.number > 0 and not (self.channel.kind == ChannelKind.MAIL and bool(self.channel.user.email))


def ways_of(user: Any) -> list[Way]:
    return [
        Way(
            channel=row,
            number=row.pk or 0,
            name=way_name(row),
            is_used=reach.is_open(row, user),
            words=reach.channel_words(row, user),
            suppression=reach.suppression_of(row, user),
        )
        for row in reach.channels_of(user)
    ]


def way_name(channel: Channel) -> str:
    name = NAMES[ChannelKind(channel.kind)]
    return f"{name} ({channel.label})" if channel.label else name
