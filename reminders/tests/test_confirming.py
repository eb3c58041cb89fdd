"""Mail to an address that is not the account's: nothing goes there but a link, until its owner has followed it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError

from jobs.models import AuditEntry, Job
from jobs.operators.actors import command_actor
from jobs.operators.settings import SettingsRefused
from reminders.models import Channel, ConfirmationMail, Reminder, ReminderDelivery, Suppression
from reminders.services import addresses, channels, confirming, links, reach, scanning, tidying
from reminders.services.channels import ChannelRefused
from reminders.services.links import Action, Link
from reminders.tests.confirmations import BEGINNING, OTHER, OWNER, asked, entered, link_in, recipients, waits
from reminders.tests.deliveries import DUE, fired, tried
from reminders.tests.factories import at, person, todo
from reminders.tests.post_office import PostOffice
from reminders.tests.test_channels import acting

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]


@pytest.fixture
def ada(clock: Any, settings: Any, office: PostOffice) -> Any:
    settings.PUBLIC_URL = "https://tasks.example"
    return person("ada")


# --- Asked first ------------------------------------------------------------------------------------------------------


def test_another_address_gets_one_mail_and_nothing_else_until_its_owner_pressed_the_button(
    ada: Any, clock: Any, office: PostOffice
) -> None:
    channel = entered(ada)
    assert [job.task for job in Job.objects.all()] == ["reminders.ask_to_confirm"]
    assert confirming.words(channel) == "waits for confirmation; the mail that asks for it is on its way"
    asked()
    confirming.send(ConfirmationMail.objects.get().pk)
    (mail,) = office.mails
    assert (mail["To"], mail["Auto-Submitted"]) == (OTHER, "auto-generated")
    assert "The account ada of Switchyard at https://tasks.example" in mail.get_content()

    clock("2026-03-02 08:00")
    row = todo(ada, **DUE)
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    dropped = Reminder.objects.get(todo=row)
    assert (dropped.state, dropped.reason) == ("dropped", "mail: waits for confirmation")
    assert not ReminderDelivery.objects.exists()

    path = link_in(office)
    for _ in range(2):
        shown = OWNER.get(path)
        assert "<bdi>ada</bdi>" in shown.text
        assert 'method="post"' in shown.text
    OWNER.head(path)
    channel.refresh_from_db()
    assert channel.waits_since == at(BEGINNING)

    assert "This address is confirmed" in OWNER.post(path).text
    assert "This address is confirmed" in OWNER.post(path).text
    entry = AuditEntry.objects.get(action="channel.confirm")
    assert (entry.actor, entry.user, entry.via) == ("the owner of its address", None, "link"), "the account did not"
    assert (entry.target, entry.detail) == (str(channel.pk), {"person": "ada"})
    assert tried(fired(clock, ada))["state"] == "sent"
    assert recipients(office) == [OTHER, OTHER]


@pytest.mark.parametrize(
    ("kind", "address"),
    [("mail", ""), ("mail", "ada@example.org"), ("mail", "Ada@Example.ORG"), ("webhook", "https://1.1.1.1/")],
)
def test_the_own_address_and_other_kinds_wait_for_nothing(ada: Any, kind: str, address: str) -> None:
    made = channels.create_channel(acting(ada), ada.pk, {"kind": kind, "address": address}).channel
    assert made.waits_since is None
    assert not ConfirmationMail.objects.exists()


def test_another_address_waits_again_and_the_own_one_no_more(ada: Any, office: PostOffice) -> None:
    entered(ada)
    asked()
    OWNER.post(link_in(office))
    assert entered(ada, OTHER).waits_since is None, "the same again is no change"
    assert entered(ada, "third@example.net").waits_since is not None
    assert entered(ada, "").waits_since is None
    assert entered(ada, OTHER).waits_since is not None


def test_what_is_on_its_way_when_another_address_is_entered_is_not_sent_there(
    ada: Any, clock: Any, office: PostOffice
) -> None:
    delivery = fired(clock, ada)
    entered(ada)
    assert tried(delivery) == {
        "delivery": delivery.pk,
        "state": "dropped",
        "why": "mail: waits for confirmation",
    }
    assert office.accepted == []


def test_no_test_message_goes_there_either(ada: Any, office: PostOffice) -> None:
    channel = entered(ada)
    asked()
    with pytest.raises(ChannelRefused, match="until then nothing else is sent to it"):
        channels.send_test(acting(ada), channel.pk)
    assert len(office.accepted) == 1


def test_of_an_address_that_waits_one_learns_not_whether_it_is_suppressed_nor_lifts_that(
    ada: Any, office: PostOffice
) -> None:
    row = Suppression.objects.create(address=OTHER, reason="550")
    channel, free = entered(ada), entered(person("bob"), "free@example.net")
    told = [(confirming.words(one), reach.channel_words(one, one.user)) for one in (channel, free)]
    assert told[0] == told[1], "as of an address that nothing is known of"
    office.steps = ["RCPT 550 5.1.1 no such user"]
    asked()
    told = [(confirming.words(one), reach.channel_words(one, one.user)) for one in (channel, free)]
    assert told[0] == told[1], "as of one that refuses now"
    assert "not sent: no mail is taken for this address" in told[0][0]
    assert office.accepted == []
    assert reach.suppression_of(channel, ada) is None
    assert not channels.suppressions(acting(ada)).exists()
    with pytest.raises(LookupError):
        channels.lift_suppression(acting(ada), row.pk)


def test_who_unsubscribed_another_address_is_asked_again_before_it_is_used_again(
    ada: Any, office: PostOffice, clock: Any
) -> None:
    channel = entered(ada)
    asked()
    OWNER.post(link_in(office))
    OWNER.post(links.path(Link(Action.UNSUBSCRIBE, ada.pk, channel.pk)))
    changed = channels.enable_channel(acting(ada), channel.pk)
    assert (changed.is_on, changed.is_usable) == (True, False)
    assert confirming.words(changed).endswith("is on its way")
    asked()
    OWNER.post(link_in(office))
    assert tried(fired(clock, ada))["state"] == "sent"
    assert recipients(office) == [OTHER] * 3


def test_a_link_of_a_former_address_does_not_undo_that_the_present_one_was_unsubscribed(
    ada: Any, office: PostOffice, clock: Any
) -> None:
    def undo(path: str) -> str:
        found = re.search(r'/reminders/subscribe/[^"]+', OWNER.post(path).text)
        assert found is not None
        return found[0]

    def unsubscribe_link() -> str:
        tried(fired(clock, ada))
        return str(office.mails[-1]["List-Unsubscribe"]).strip("<>").removeprefix("https://tasks.example")

    former = undo(unsubscribe_link())
    OWNER.post(former)
    channel = entered(ada)
    asked()
    OWNER.post(link_in(office))
    present = undo(unsubscribe_link())
    assert OWNER.post(former).status_code == 409
    assert not Channel.objects.get(pk=channel.pk).is_usable
    assert OWNER.post(present).status_code == 200
    assert Channel.objects.get(pk=channel.pk).is_usable


def test_who_switched_another_address_off_or_unsubscribed_the_own_one_waits_for_nothing(
    ada: Any, office: PostOffice
) -> None:
    channel = entered(ada)
    asked()
    OWNER.post(link_in(office))
    channels.disable_channel(acting(ada), channel.pk)
    assert channels.enable_channel(acting(ada), channel.pk).is_usable
    entered(ada, "")
    OWNER.post(links.path(Link(Action.UNSUBSCRIBE, ada.pk, channel.pk)))
    assert channels.enable_channel(acting(ada), channel.pk).is_usable
    assert ConfirmationMail.objects.count() == 1


# --- The link ---------------------------------------------------------------------------------------------------------


def test_the_link_of_a_former_address_confirms_no_other(ada: Any, office: PostOffice) -> None:
    entered(ada)
    asked()
    former = link_in(office)
    channel = entered(ada, "victim@example.net")

    assert OWNER.post(former).status_code == 409
    assert waits(channel)
    asked()
    OWNER.post(link_in(office))
    assert not waits(channel)
    assert OWNER.get(former).status_code == 409


def test_no_other_link_confirms_and_this_one_does_nothing_else(ada: Any, office: PostOffice) -> None:
    channel = entered(ada)
    asked()
    good = link_in(office)
    token = good.split("/")[-2]
    version = addresses.version_of(OTHER)
    for action in (Action.SUBSCRIBE, Action.UNSUBSCRIBE, Action.DONE):
        made_up = links.token(Link(action, ada.pk, channel.pk, version))
        assert OWNER.post(f"/reminders/confirm/{made_up}/").status_code == 403
    for purpose in ("do", "unsubscribe", "subscribe"):
        assert OWNER.post(f"/reminders/{purpose}/{token}/").status_code == 403
    foreign = links.token(Link(Action.CONFIRM, person("bob").pk, channel.pk, version))
    assert OWNER.post(f"/reminders/confirm/{foreign}/").status_code == 404
    assert OWNER.post(f"/reminders/confirm/{token[:-1]}/").status_code == 403
    channel.refresh_from_db()
    assert (channel.waits_since is None, channel.unsubscribed_at) == (False, None)


def test_the_link_ends_after_seven_days(ada: Any, clock: Any, office: PostOffice) -> None:
    channel = entered(ada)
    asked()
    clock(at(BEGINNING) + timedelta(days=7, seconds=1))
    answer = OWNER.post(link_in(office))
    assert (answer.status_code, "good for 7 days" in answer.text) == (403, True)
    channel.refresh_from_db()
    assert channel.waits_since is not None


# --- A few a day ------------------------------------------------------------------------------------------------------


def test_an_address_gets_three_a_day_whoever_asks(ada: Any, clock: Any, office: PostOffice) -> None:
    entered(ada)
    for name in ("bob", "cid"):
        assert confirming.words(entered(person(name), OTHER.upper())).endswith("is on its way")
    dan = person("dan")
    channel = entered(dan)
    assert channel.waits_since is not None
    with pytest.raises(ChannelRefused, match="wait until tomorrow"):
        channels.ask_again(acting(dan), channel.pk)
    assert reach.channel_words(channel, dan) == (
        "Nothing is sent by mail: it waits for confirmation; the mail that asks for it was not sent: 3 such mails went "
        "to this address within a day; wait until tomorrow."
    )
    channels.delete_channel(command_actor(), entered_by_nobody(dan).pk)
    asked()
    assert len(office.accepted) == 3
    clock("2026-03-02 00:01")
    entered(dan, OTHER)
    asked()
    assert len(office.accepted) == 4


def entered_by_nobody(user: Any) -> Channel:
    """The channel of somebody without an address of their own, which can be deleted."""
    type(user).objects.filter(pk=user.pk).update(email="")
    user.refresh_from_db()
    return Channel.objects.get(user=user)


def test_however_an_address_is_written_it_is_the_same() -> None:
    ways = ("x@exämple.net", "X@EXÄMPLE.net", "x@xn--exmple-cua.net", " x@exämple.net ")
    assert len({addresses.version_of(way) for way in ways}) == 1
    assert addresses.version_of("y@exämple.net") != addresses.version_of(ways[0])


def test_a_person_has_ten_sent_a_day_to_whatever_addresses(ada: Any) -> None:
    for number in range(12):
        channel = entered(ada, f"victim{number}@example.net")
    assert ConfirmationMail.objects.exclude(job_id="").count() == Job.objects.count() == 10
    assert "10 such mails were sent for this account" in confirming.words(channel)
    assert ConfirmationMail.objects.filter(job_id="").count() == 1, "what was not asked is noted once"


def test_they_are_forgotten_after_some_time(ada: Any, clock: Any) -> None:
    entered(ada)
    clock("2028-01-01 00:00")
    assert tidying.tidy()["confirmations"] == 1


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_operators_see_that_it_waits_and_ask_once_more_but_cannot_confirm(ada: Any, office: PostOffice) -> None:
    boss = acting(person("boss"), "view_channel", "add_channel", "change_channel")
    channel = entered(ada, by=boss)
    assert channel.waits_since is not None
    assert channels.enable_channel(boss, channel.pk).waits_since is not None
    assert channels.change_channel(boss, channel.pk, {"enabled": True, "label": "x"}).waits_since is not None
    for given in ({"waits_since": None}, {"confirmation": ""}):
        with pytest.raises(SettingsRefused, match="unknown setting"):
            channels.change_channel(boss, channel.pk, given)
    channels.ask_again(boss, channel.pk)
    asked()
    assert recipients(office) == [OTHER, OTHER]
    with pytest.raises(PermissionDenied):
        channels.ask_again(acting(person("eve"), "view_channel"), channel.pk)
    OWNER.post(link_in(office))
    with pytest.raises(ChannelRefused, match="waits for no confirmation"):
        channels.ask_again(boss, channel.pk)


# --- What the database holds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{"kind": "webhook", "address": "https://1.1.1.1/"}, {"kind": "mail", "address": ""}])
def test_only_mail_to_an_address_of_its_own_waits(ada: Any, given: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="channel_waits_by_mail"):
        Channel.objects.create(user=ada, waits_since=at(BEGINNING), **given)


def test_a_mail_is_not_both_sent_and_failed(ada: Any) -> None:
    entered(ada)
    with pytest.raises(IntegrityError, match="confirmation_sent_or_failed"):
        ConfirmationMail.objects.update(sent_at=at(BEGINNING), error="refused")


def test_an_address_that_cannot_be_read_now_is_not_confirmed_by_that(ada: Any, settings: Any) -> None:
    channel = entered(ada)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-key" * 8, []
    assert not channels.enable_channel(acting(ada), channel.pk).is_usable
    Channel.objects.update(unsubscribed_at=at(BEGINNING))
    assert not channels.enable_channel(acting(ada), channel.pk).is_usable
