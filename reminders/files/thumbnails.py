"""Thumbnails, made by a process of their own: a picture that breaks the decoder breaks nothing else."""

import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from reminders.files import pictures
from reminders.files.kinds import OF_CONTENT_TYPE
from reminders.files.thumbnailer import REFUSED

LARGEST = 256
MOST_PIXELS = 50_000_000
#: Of addresses, of which the interpreter and its libraries take a part without using them.
ADDRESS_BYTES = 196 * 1024 * 1024
CPU_SECONDS = 20
WALL_SECONDS = 60
CONTENT_TYPE = "image/webp"
_MOST_BYTES = 1024 * 1024
_PROGRAM = Path(__file__).with_name("thumbnailer.py")


class ThumbnailRefused(Exception):
    """There is no thumbnail; the message begins with a code, and says why."""


def make(file: BinaryIO, content_type: str) -> bytes:
    """A WebP picture of at most 256 by 256 pixels, upright and without metadata.

    file: on a disk of this host. Raises ThumbnailRefused.
    """
    kind = OF_CONTENT_TYPE[content_type]
    size = pictures.size_of(file, kind)
    if size is None:
        raise ThumbnailRefused("undecodable: its header is cut off or broken")
    if size[0] * size[1] > MOST_PIXELS:
        words = f"{size[0]:,} by {size[1]:,} are {size[0] * size[1]:,} pixels; up to {MOST_PIXELS:,} are shown"
        raise ThumbnailRefused(f"too_many_pixels: {words}")
    file.seek(0)
    limits = (LARGEST, MOST_PIXELS, ADDRESS_BYTES, CPU_SECONDS)
    command = [sys.executable, "-I", str(_PROGRAM), *map(str, limits), kind.name.upper()]
    try:
        done = subprocess.run(
            command, stdin=file, capture_output=True, timeout=WALL_SECONDS, env={}, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        raise ThumbnailRefused(f"took_too_long: it was not decoded within {WALL_SECONDS} s") from None
    if done.returncode == REFUSED:
        raise ThumbnailRefused(done.stdout[:1000].decode("utf-8", "replace"))
    if done.returncode < 0:
        words = f"the decoder was ended by signal {-done.returncode}, at its limit of {CPU_SECONDS} s or by a fault"
        raise ThumbnailRefused(f"took_too_long: {words}")
    if done.returncode or not 0 < len(done.stdout) <= _MOST_BYTES:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ThumbnailRefused(f"undecodable: {last[0][:200] if last else 'the decoder gave nothing'}")
    return done.stdout
