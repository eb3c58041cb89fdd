"""A mail as an effect: rendered and stored before it is tried, so that each try sends the same bytes."""

import re
import smtplib
import ssl
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from typing import Any, Literal

from django.conf import settings

from jobs.effects import wire
from jobs.effects.errors import Refused
from jobs.effects.protocol import Uncertain, once
from jobs.effects.trying import Try

#: Headers whose words are addresses and names for machines. Python folds a word that is longer than a line by encoding
#: it, and no mail program decodes it there (RFC 2047 §5): its one-click unsubscription, or its threads, would be gone.
_LITERAL = frozenset({"in-reply-to", "list-help", "list-id", "list-unsubscribe", "references"})
_LONGEST_LINE = 998  # RFC 5322 §2.1.1


class _Rendering(policy.EmailPolicy):
    def fold_binary(self, name: str, value: Any) -> bytes:
        line = f"{name}: {' '.join(str(value).split())}"
        if name.lower() in _LITERAL and line.isascii() and len(line) <= _LONGEST_LINE:
            return f"{line}{self.linesep}".encode()
        return super().fold_binary(name, value)


#: A message with only ASCII in its lines, as every server takes it.
_RENDERED = _Rendering(linesep="\r\n", cte_type="7bit")


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed over. security: none, starttls, or tls from the first byte."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    security: Literal["none", "starttls", "tls"] = "none"

    @classmethod
    def of_settings(cls) -> "MailServer":
        """Django's own: EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL."""
        security: Literal["none", "starttls", "tls"] = "none"
        if settings.EMAIL_USE_SSL or settings.EMAIL_USE_TLS:
            security = "tls" if settings.EMAIL_USE_SSL else "starttls"
        return cls(
            settings.EMAIL_HOST,
            settings.EMAIL_PORT,
            settings.EMAIL_HOST_USER,
            settings.EMAIL_HOST_PASSWORD,
            security,
        )


def send_mail(
    key: str,
    message: EmailMessage,
    *,
    server: MailServer | None = None,
    policy: Uncertain = Uncertain.FAIL,
    timeout_seconds: float = 60,
) -> Any:
    """Hand a mail over once for this key. Returns {"message_id", "answer", "refused": {address: answer}}.

    The message gets a Message-ID and a Date if it has none; To, Cc and Bcc are its recipients, and Bcc is not sent.
    Once a mail server has been given the text and does not answer, nobody can find out whether it took it: `policy`
    decides. Raises ValueError without a sender or a recipient, and what `once` raises.
    """
    recipients = [address for _, address in getaddresses([*_headers(message, "to", "cc", "bcc")])]
    sender = next((address for _, address in getaddresses([*_headers(message, "sender", "from")])), "")
    if not sender or not recipients:
        raise ValueError("a mail needs an address in From, and one in To, Cc or Bcc")
    known_as = str(message["Message-ID"] or make_msgid(domain=sender.rpartition("@")[2] or None))
    envelope = {"sender": sender, "recipients": recipients}
    used = server or MailServer.of_settings()
    return once(
        key,
        lambda attempt: _hand_over(attempt, used),
        kind="mail",
        target=f"{len(recipients)} recipients" if len(recipients) > 1 else recipients[0],
        identity=known_as,
        request=_rendered(message, known_as, envelope),
        policy=policy,
        timeout_seconds=timeout_seconds,
    )


def _headers(message: EmailMessage, *names: str) -> list[str]:
    return [str(value) for name in names for value in message.get_all(name, [])]


def _rendered(message: EmailMessage, known_as: str, envelope: dict[str, Any]) -> bytes:
    """The bytes of the mail, after its envelope in two headers that are taken off again before it is sent."""
    copy = message_from_bytes(message.as_bytes(policy=_RENDERED), policy=_RENDERED)
    for name in ("Bcc", "Message-ID"):
        del copy[name]
    copy["Message-ID"] = known_as
    if "Date" not in copy:
        copy["Date"] = formatdate(localtime=False)
    text = copy.as_bytes(policy=_RENDERED)
    lines = f"{envelope['sender']}\r\n{','.join(envelope['recipients'])}\r\n\r\n"
    return lines.encode() + text


def _hand_over(attempt: Try, server: MailServer) -> dict[str, Any]:
    assert attempt.request is not None
    envelope, _, text = bytes(attempt.request).partition(b"\r\n\r\n")
    sender, _, recipients = envelope.decode().partition("\r\n")
    smtp = _connect(attempt, server)
    try:
        refused = _address(smtp, sender, recipients.split(","))
        answer = _give(smtp, text, attempt)
    except (smtplib.SMTPException, OSError):
        wire.abort(smtp.sock)
        raise
    try:
        smtp.quit()
    except (smtplib.SMTPException, OSError):
        wire.abort(smtp.sock)
    return {"message_id": attempt.identity, "answer": answer, "refused": refused}


def _connect(attempt: Try, server: MailServer) -> smtplib.SMTP:
    timeout = attempt.seconds_left
    if server.security == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, timeout=timeout, context=ssl.create_default_context()
        )
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=timeout)
    if server.security == "starttls":
        smtp.starttls(context=ssl.create_default_context())
    smtp.ehlo_or_helo_if_needed()
    if server.user:
        smtp.login(server.user, server.password)
    return smtp


def _address(smtp: smtplib.SMTP, sender: str, recipients: list[str]) -> dict[str, str]:
    """Give the envelope. Returns the recipients that the server refused; raises Refused when it refused all."""
    code, answer = smtp.mail(sender)
    if code != 250:
        raise Refused(f"the mail server refused the sender: {_told(code, answer)}", code, "sender")
    refused, status = {}, 0
    for recipient in recipients:
        code, answer = smtp.rcpt(recipient)
        if code not in (250, 251):
            refused[recipient] = _told(code, answer)
            status = status or code
    if len(refused) == len(recipients):
        told = next(iter(refused.values()))
        raise Refused(f"the mail server refused the recipients: {told}", status, "recipient")
    return refused


def _give(smtp: smtplib.SMTP, text: bytes, attempt: Try) -> str:
    """Give the text: from here on the outcome is the server's to tell."""
    code, answer = smtp.docmd("DATA")
    if code != 354:
        raise Refused(f"the mail server did not want the text: {_told(code, answer)}", code, "text")
    stuffed = re.sub(rb"(?m)^\.", b"..", text)
    end = b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"
    assert smtp.sock is not None
    wire.write(smtp.sock, stuffed + end, attempt)
    smtp.sock.settimeout(attempt.seconds_left)
    code, answer = smtp.getreply()
    if 400 <= code < 600:
        raise Refused(f"the mail server did not take the text: {_told(code, answer)}", code, "text")
    if code != 250:
        raise smtplib.SMTPDataError(code, answer)
    return _told(code, answer)


def _told(code: int, answer: bytes) -> str:
    return f"{code} {answer.decode('utf-8', 'replace')}"[:300]
