"""The mail that asks to confirm an address: tried again, given up, settled, and why there is none."""

import contextlib
from typing import Any

import pytest

from jobs.effects import EffectUnknown, Refused, TooLate
from jobs.ledger.errors import Snooze
from jobs.ledger.run import Run
from jobs.models import Job
from jobs.registry import policy_of
from reminders.models import Channel, ConfirmationMail
from reminders.services import channels, confirming, sending, settling
from reminders.tasks import MAX_ATTEMPTS
from reminders.tests.confirmations import BEGINNING, OTHER, asked, entered, recipients
from reminders.tests.deliveries import let_the_deadline_of_key_pass
from reminders.tests.factories import at, person
from reminders.tests.post_office import PostOffice
from reminders.tests.test_channels import acting

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]


@pytest.fixture
def ada(clock: Any, settings: Any, office: PostOffice) -> Any:
    settings.PUBLIC_URL = "https://tasks.example"
    return person("ada")


def test_a_server_that_is_away_is_waited_for_a_day(ada: Any, office: PostOffice, clock: Any, settings: Any) -> None:
    channel = entered(ada)
    row = ConfirmationMail.objects.get()
    office.steps = ["MAIL 421 later"]
    with pytest.raises(Snooze):
        confirming.send(row.pk)
    assert confirming.send(row.pk) == {"mail": row.pk, "state": "sent"}

    channels.ask_again(acting(ada), channel.pk)
    last = ConfirmationMail.objects.latest("id")
    clock("2026-03-02 00:01")
    office.steps = ["MAIL 421 later"]
    assert confirming.send(last.pk)["state"] == "not sent"
    assert "was not sent: the mail server" in confirming.words(channel)


def test_a_refusal_is_told(ada: Any, office: PostOffice) -> None:
    channel = entered(ada)
    office.steps = ["RCPT 550 5.7.1 relaying denied"]
    asked()
    assert "550 5.7.1 relaying denied" in confirming.words(channel)
    assert office.accepted == []


@pytest.mark.parametrize("answer", ["RCPT 450 4.2.0 greylisted", "DATA 451 later"])
def test_what_may_pass_is_tried_again_in_the_same_mail(ada: Any, office: PostOffice, answer: str) -> None:
    channel = entered(ada)
    office.steps = [answer]
    with pytest.raises(Refused):
        asked()
    assert confirming.words(channel).endswith("is on its way")
    assert [one["state"] for one in asked()] == ["sent"]
    assert ConfirmationMail.objects.count() == 1, "it counts once among those of the day"


def test_a_deadline_that_passed_is_tried_again(ada: Any, office: PostOffice, monkeypatch: Any) -> None:
    entered(ada)
    with monkeypatch.context() as slow:
        slow.setattr(sending, "hand_over", failing(TooLate("the deadline passed")))
        with pytest.raises(TooLate):
            asked()
    assert [one["state"] for one in asked()] == ["sent"]


@pytest.mark.parametrize(
    ("exc", "is_raised", "told"),
    [
        (Refused("450 greylisted", 450, "recipient"), False, "450 greylisted"),
        (TooLate("the deadline passed"), False, "the deadline passed"),
        (RuntimeError("a surprise"), True, "RuntimeError: a surprise"),
    ],
)
def test_the_last_attempt_ends_it_and_says_why(
    ada: Any, office: PostOffice, monkeypatch: Any, exc: Exception, is_raised: bool, told: str
) -> None:
    channel = entered(ada)
    monkeypatch.setattr(sending, "hand_over", failing(exc))
    last = Run("job", "claim", MAX_ATTEMPTS, MAX_ATTEMPTS, policy_of("reminders.ask_to_confirm"))
    monkeypatch.setattr(confirming, "current_run", lambda: last)
    with pytest.raises(RuntimeError) if is_raised else contextlib.nullcontext():
        asked()
    assert told in confirming.words(channel)


def failing(exc: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise exc

    return fail


def test_a_mail_whose_job_ended_without_a_word_is_settled_by_what_is_known(ada: Any, office: PostOffice) -> None:
    lost, sent, running = (entered(who) for who in (ada, person("bob"), person("cid")))
    rows = [ConfirmationMail.objects.get(channel=one.pk) for one in (lost, sent, running)]
    confirming.send(rows[1].pk)
    ConfirmationMail.objects.update(sent_at=None)
    ended = Job.objects.filter(pk__in=[row.job_id for row in rows[:2]])
    ended.update(state="cancelled", finished_at=at(BEGINNING), error="cancelled by boss")
    assert settling.settle_lost()["confirmations"] == 2
    assert "not sent: its job ended as cancelled: cancelled by boss" in confirming.words(lost)
    assert "follow the link" in confirming.words(sent)
    assert confirming.words(running).endswith("is on its way")


def test_of_a_mail_whose_end_is_not_known_at_most_one_second_copy_goes(ada: Any, office: PostOffice) -> None:
    entered(ada)
    row = ConfirmationMail.objects.get()
    office.steps = ["drop after storing"] * 4
    for _ in range(4):
        with contextlib.suppress(EffectUnknown):
            asked()
        let_the_deadline_of_key_pass(confirming.key_of(row.pk))
    assert len({mail["Message-ID"] for mail in office.mails}) == 1
    assert len(office.mails) == 2


def test_it_is_not_sent_when_the_address_was_changed_or_confirmed_since(ada: Any, office: PostOffice) -> None:
    channel = entered(ada)
    entered(ada, "")
    assert [one["why"] for one in asked()] == ["it is not waited for any more"]
    entered(ada)
    entered(ada, "third@example.net")
    assert [one.get("why") for one in asked()] == ["the address was changed since", None]
    channels.ask_again(acting(ada), channel.pk)
    Channel.objects.update(waits_since=None)
    assert [one["why"] for one in asked()] == ["it is not waited for any more"]
    assert recipients(office) == ["third@example.net"]


@pytest.mark.parametrize("missing", ["PUBLIC_URL", "EMAIL_URL"])
def test_without_a_link_or_a_server_it_waits_and_says_so(ada: Any, settings: Any, missing: str) -> None:
    setattr(settings, "PUBLIC_URL" if missing == "PUBLIC_URL" else "EMAIL_HOST", "")
    for address in (OTHER, "third@example.net"):
        channel = entered(ada, address)
        assert channel.waits_since is not None
        assert f"not sent: {'no mail server' if missing == 'EMAIL_URL' else missing}" in confirming.words(channel)
        assert missing in confirming.words(channel)
    assert not Job.objects.exists()
