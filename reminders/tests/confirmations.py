"""Addresses that wait to be confirmed, as tests need them."""

import re
from typing import Any

from django.test import Client

from jobs.operators.actors import Actor
from reminders.models import Channel, ConfirmationMail
from reminders.services import channels, confirming
from reminders.tests.post_office import PostOffice
from reminders.tests.test_channels import acting

OTHER = "other@example.net"
BEGINNING = "2026-03-01 00:00"
#: Whoever reads the mail of an address.
OWNER = Client(enforce_csrf_checks=True)


def entered(user: Any, address: str = OTHER, by: Actor | None = None) -> Channel:
    """Its channel by mail, with that address, entered as on a page, by REST or by command."""
    actor = by or acting(user)
    row = Channel.objects.filter(user=user, kind="mail").first()
    if row is None:
        return channels.create_channel(actor, user.pk, {"kind": "mail", "address": address}).channel
    return channels.change_channel(actor, row.pk, {"address": address})


def asked() -> list[dict[str, Any]]:
    """What became of each mail that waits to be sent."""
    waiting = ConfirmationMail.objects.filter(sent_at=None, error="").order_by("id")
    return [confirming.send(row.pk) for row in waiting]


def link_in(office: PostOffice) -> str:
    found = re.search(r"https://tasks\.example(/reminders/confirm/\S+)", office.mails[-1].get_content())
    assert found is not None
    return found[1]


def waits(channel: Channel) -> bool:
    return Channel.objects.filter(pk=channel.pk, waits_since__isnull=False).exists()


def recipients(office: PostOffice) -> list[str]:
    return [address for envelope in office.accepted for address in envelope.rcpt_tos]
