"""A mail server that writes down each message, and the time on the virtual clock, before it says that it has it.

Arguments: port, file of messages, file of the clock.
"""

import asyncio
import json
import os
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any


class Letters:
    def __init__(self, file: str, clock: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._clock = Path(clock)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=policy.default)
        text = message.get_body(("plain",))
        clock = self._clock.read_text(encoding="ascii").strip()
        row = {
            "message_id": str(message["Message-ID"]),
            "to": envelope.rcpt_tos,
            "clock": clock,
            "subject": str(message["Subject"]),
            "text": text.get_content() if text else "",
        }
        os.write(self._file, json.dumps(row).encode() + b"\n")
        return "250 stored"


async def _serve(port: int, letters: Letters) -> None:
    from aiosmtpd.smtp import SMTP

    server = await asyncio.get_running_loop().create_server(lambda: SMTP(letters), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Letters(sys.argv[2], sys.argv[3])))
