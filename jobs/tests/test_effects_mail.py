"""Mail as an effect, against a real SMTP server that dies or freezes at every step; what it accepted is the judge."""

import smtplib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from jobs import effects
from jobs.effects import protocol, trying
from jobs.effects.mail import MailServer, send_mail
from jobs.ledger import connection as ledger_connection
from jobs.models import Effect, EffectState
from jobs.tests.test_effects import EXPECTED, PATIENT_SECONDS, let_the_deadline_pass, state_of

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Letters:
    """Accepts mail; the coming step says where it dies instead."""

    step: str = ""
    accepted: list[Any] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self._take("die at MAIL"):
            server.transport.abort()
        if self._take("refuse the sender"):
            return "550 no"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self._take("die at RCPT"):
            server.transport.abort()
        if self._take("greylist") or address.startswith("nobody"):
            return "450 later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        import asyncio

        self.seen.append(envelope.content)
        if self._take("die after the text, before storing"):
            server.transport.abort()
            return "250 OK"
        if self._take("refuse the text"):
            return "554 no"
        self.accepted.append(envelope)
        if self._take("die after storing"):
            server.transport.abort()
        if self._take("freeze after storing"):
            await asyncio.sleep(60)  # until the server's end: its client gives up before
        return "250 stored as 7"

    def _take(self, step: str) -> bool:
        if self.step != step:
            return False
        self.step = ""
        return True


#: Whether the server has the mail afterwards; None where it was never given the text.
STEPS: dict[str, bool | None] = {
    "die at MAIL": None,
    "refuse the sender": None,
    "die at RCPT": None,
    "greylist": None,
    "refuse the text": None,
    "die after the text, before storing": False,
    "die after storing": True,
    "freeze after storing": True,
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(protocol, "LEAST_SECONDS", 0.1)
    yield
    ledger_connection.effects().close()


@pytest.fixture
def letters() -> Letters:
    return Letters()


class OnAnyPort(Controller):
    """Takes a port that is free; the controller's own first connection must then learn which."""

    def __init__(self, handler: Any) -> None:
        super().__init__(handler, hostname="127.0.0.1", port=0, ready_timeout=60)  # a guard

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def server(letters: Letters) -> Iterator[MailServer]:
    controller = OnAnyPort(letters)
    controller.start()
    yield MailServer("127.0.0.1", controller.port)
    controller.stop()


def letter(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"From": "Switchyard <jobs@example.org>", "To": "ann@example.org", **headers}.items():
        message[name] = value
    message["Subject"] = "Fällig"
    message.set_content("Tomorrow\n.\n..and a line with dots\nüber")
    return message


def send_to_its_end(key: str, server: MailServer, **options: Any) -> Any:
    options = {"timeout_seconds": 2.0 if key.startswith("freeze") else PATIENT_SECONDS, **options}
    for _ in range(4):
        try:
            return send_mail(key, letter(), server=server, **options)
        except effects.EffectUncertain:
            return "uncertain"
        except (*EXPECTED, smtplib.SMTPException):
            let_the_deadline_pass(key)
    raise AssertionError(f"{key} came to no end")


def test_a_mail_arrives_as_it_was_written(server: MailServer, letters: Letters) -> None:
    receipt = send_mail("k", letter(Bcc="boss@example.org", Cc="bob@example.org"), server=server)

    envelope = letters.accepted[0]
    assert envelope.mail_from == "jobs@example.org"
    assert envelope.rcpt_tos == ["ann@example.org", "bob@example.org", "boss@example.org"]
    assert b"boss@" not in envelope.content
    assert b"Message-ID: " + receipt["message_id"].encode() in envelope.content
    from email import message_from_bytes, policy

    parsed = message_from_bytes(envelope.content, policy=policy.default)
    assert parsed["Subject"] == "Fällig"
    assert parsed.get_content().splitlines() == ["Tomorrow", ".", "..and a line with dots", "über"]
    assert receipt["answer"] == "250 stored as 7"
    assert send_mail("k", letter(Bcc="boss@example.org", Cc="bob@example.org"), server=server) == receipt
    assert len(letters.accepted) == 1


def test_what_is_for_machines_is_never_encoded(server: MailServer, letters: Letters) -> None:
    """A word that is longer than a line: no mail program decodes it in these headers."""
    link = f"<https://tasks.example/unsubscribe/{'x' * 300}/>"
    thread = f"<task.{'7' * 90}@switchyard.example>"
    message = letter()
    for name, value in (
        ("List-Unsubscribe", link),
        ("List-Id", f"Reminders of Switchyard <reminders.{'y' * 80}.example>"),
        ("References", f"{thread} {thread}"),
        ("In-Reply-To", thread),
    ):
        message[name] = value

    send_mail("literal", message, server=server)

    head = letters.accepted[0].content.split(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
    for name in ("List-Unsubscribe", "List-Id", "References", "In-Reply-To"):
        assert f"{name}: {message[name]}" in head


def test_a_mail_that_may_have_been_taken_is_never_sent_again_by_itself(server: MailServer, letters: Letters) -> None:
    for step, is_stored in STEPS.items():
        letters.step, letters.accepted = step, []
        outcome = send_to_its_end(step, server)
        if is_stored is None:
            assert outcome != "uncertain", step
            assert len(letters.accepted) == 1, step
        else:
            assert outcome == "uncertain", step
            assert state_of(step).state == EffectState.UNCERTAIN
            assert len(letters.accepted) == is_stored, step


def test_once_more_sends_the_same_bytes_with_the_same_message_id(server: MailServer, letters: Letters) -> None:
    letters.step = "die after the text, before storing"

    outcome = send_to_its_end("k", server, policy=effects.Uncertain.AGAIN)

    assert outcome["message_id"]
    first, second = letters.seen
    assert first == second
    assert len(letters.accepted) == 1
    assert state_of("k").doubts == 1


def test_recipients_that_are_refused_are_told(server: MailServer, letters: Letters) -> None:
    receipt = send_mail("k", letter(Cc="nobody@example.org"), server=server)

    assert receipt["refused"] == {"nobody@example.org": "450 later"}
    assert letters.accepted[0].rcpt_tos == ["ann@example.org"]


@pytest.mark.parametrize(
    ("step", "status", "about"),
    [("refuse the sender", 550, "sender"), ("greylist", 450, "recipient"), ("refuse the text", 554, "text")],
)
def test_a_refusal_tells_its_code_and_what_was_refused(
    server: MailServer, letters: Letters, step: str, status: int, about: str
) -> None:
    letters.step = step
    with pytest.raises(effects.Refused) as refused:
        send_mail("k", letter(), server=server)

    assert (refused.value.status, refused.value.about) == (status, about)
    assert state_of("k").state == EffectState.FAILED


def test_the_text_is_not_sent_after_the_deadline(
    server: MailServer, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trying.clock
    frozen = threading.Event()

    async def freeze(server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        envelope.rcpt_tos.append(address)
        frozen.set()
        return "250 OK"

    monkeypatch.setattr(letters, "handle_RCPT", freeze)
    monkeypatch.setattr(trying, "clock", lambda: real() + (3 if frozen.is_set() else 0))
    with pytest.raises(effects.TooLate):
        send_mail("k", letter(), server=server, timeout_seconds=2)

    time.sleep(0.1)
    assert letters.seen == []
    assert state_of("k").state == EffectState.FAILED


@pytest.mark.parametrize("headers", [{"To": ""}, {"From": ""}])
def test_a_mail_without_a_sender_or_a_recipient_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="needs an address"):
        send_mail("k", letter(**headers))
    assert not Effect.objects.exists()
