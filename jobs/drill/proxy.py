"""A proxy that stalls, resets and loses replies: `python -m jobs.drill.proxy NAME=SOCKET …`.

Listens on a loopback port for each Unix socket and prints {"NAME": port, …} on the first line. Takes its orders from
standard input, a line each, and prints a line when it has followed one: `NAME pass`, `NAME stall` (replies are taken
from the server and held back), `NAME reset` (every connection gets an RST, and what was held back is lost), `NAME lose
COUNT` (the answers to the next COUNT commits are lost: the server has committed, and its client learns only that the
connection is gone).
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
from dataclasses import dataclass, field

_CHUNK = 64 * 1024


@dataclass
class Link:
    """One listening port and what is to happen on it."""

    socket_path: str
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    to_lose: int = 0
    clients: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self) -> int:
        self.flowing.set()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.server = server
        return int(server.sockets[0].getsockname()[1])

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self.socket_path)
        except OSError:
            self._reset(writer)
            return
        connection = Connection(self)
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(connection.forward(reader, far_writer)),
                    asyncio.create_task(connection.back(far_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._reset(writer) if connection.lost else writer.close()
            far_writer.close()
            self.clients.discard(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self.clients.discard(writer)
        raw = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def order(self, verb: str, count: str = "1") -> None:
        if verb == "stall":
            self.flowing.clear()
        elif verb == "reset":
            for writer in list(self.clients):
                self._reset(writer)
            self.flowing.set()
        elif verb == "lose":
            self.to_lose = int(count)
        else:
            self.to_lose = 0
            self.flowing.set()


@dataclass
class Connection:
    link: Link
    committing: bool = False
    lost: bool = False

    async def forward(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.link.to_lose and b"COMMIT" in data:
                    self.link.to_lose -= 1
                    self.committing = True
                far.write(data)
                await far.drain()

    async def back(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await far.read(_CHUNK):
                if self.committing:
                    self.lost = True
                    return
                await self.link.flowing.wait()
                writer.write(data)
                await writer.drain()


async def run(arguments: list[str]) -> None:
    links = {name: Link(path) for name, path in (argument.split("=", 1) for argument in arguments)}
    sys.stdout.write(json.dumps({name: await link.serve() for name, link in links.items()}) + "\n")
    sys.stdout.flush()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        name, *order = line.decode().split()
        links[name].order(*order)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1:]))
