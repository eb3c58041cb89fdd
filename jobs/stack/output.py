"""One log for all processes: a time, the process, what it said."""

import os
import sys
import time
from collections.abc import Mapping

_COLOURS = (36, 35, 33, 32, 34, 96, 95, 93, 92, 94)
_MAX_LINE = 64 * 1024


class Log:
    """Writes whole lines to standard output, each with its process' name, coloured on a terminal."""

    def __init__(self, names: list[str], environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self.width = max(map(len, names))
        coloured = sys.stdout.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self.colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)} if coloured else {}
        self._unfinished: dict[str, bytes] = {}

    def line(self, name: str, text: str) -> None:
        label = f"{time.strftime('%H:%M:%S')} {name:<{self.width}} |"
        if name in self.colours:
            label = f"\x1b[{self.colours[name]}m{label}\x1b[0m"
        self._write("".join(f"{label} {part}\n" for part in text.splitlines() or [""]))

    def feed(self, name: str, data: bytes) -> None:
        """Take what a process wrote; its last line waits until it is complete."""
        *lines, rest = (self._unfinished.get(name, b"") + data).split(b"\n")
        if len(rest) > _MAX_LINE:
            lines, rest = [*lines, rest], b""
        self._unfinished[name] = rest
        for line in lines:
            if line.strip():
                self.line(name, line.decode(errors="replace").rstrip("\r"))

    def finish(self, name: str) -> None:
        rest = self._unfinished.pop(name, b"")
        if rest:
            self.line(name, rest.decode(errors="replace"))

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (BrokenPipeError, OSError):
            # Whoever read us is gone; the work goes on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
