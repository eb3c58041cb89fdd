"""A mail server in the test's process that behaves as badly as it is told."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


@dataclass
class PostOffice:
    """steps: what happens to the coming mails, one each; then all goes well. seen: every text that was given;
    accepted: those that it kept. has_taken: set once there is one of these.

    A step is an answer such as "RCPT 550 5.1.1 no such user" or "DATA 552 full", or one of "drop before storing",
    "drop after storing", "stall", "garbage", and "deed", which calls `deed` when the mail is stored, and drops.
    """

    steps: list[str] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)
    accepted: list[Any] = field(default_factory=list)
    port: int = 0
    deed: Callable[[], object] | None = None
    has_taken: threading.Event = field(default_factory=threading.Event)

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(envelope.content, policy=policy.default) for envelope in self.accepted]

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        if answer := self._answer("MAIL "):
            return answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        if answer := self._answer("RCPT "):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        self.seen.append(envelope.content)
        if answer := self._answer("DATA "):
            return answer
        step = self.steps.pop(0) if self.steps else ""
        if step != "drop before storing":
            self.accepted.append(envelope)
            self.has_taken.set()
        if step == "deed" and self.deed is not None:
            await asyncio.to_thread(self.deed)
        if step.startswith(("drop", "deed")):
            server.transport.abort()
        if step == "stall":
            await asyncio.sleep(3600)  # until the other side hangs up
        return "what is it" if step == "garbage" else "250 stored"

    def _answer(self, command: str) -> str:
        return self.steps.pop(0).removeprefix(command) if self.steps and self.steps[0].startswith(command) else ""


class _OnAnyPort(Controller):
    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def post_office() -> Iterator[PostOffice]:
    office = PostOffice()
    controller = _OnAnyPort(office, hostname="127.0.0.1", port=0, ready_timeout=120)
    controller.start()
    office.port = controller.port
    try:
        yield office
    finally:
        controller.stop()
