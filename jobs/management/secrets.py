"""Secrets that commands take: from a file or from stdin, never from arguments, which everybody on the machine sees."""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

MAX_BYTES = 64 * 1024


def add_secrets(parser: ArgumentParser, names: Sequence[str]) -> None:
    for name in names:
        flag = f"--{name.replace('_', '-')}-file"
        parser.add_argument(
            flag, metavar="FILE", help="a file that holds it; - reads it from stdin; empty takes it away"
        )


def with_secrets(settings: Mapping[str, Any], options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The settings with those secrets whose files were named. Raises CommandError."""
    named = [name for name in names if name in settings]
    if named:
        flag = f"--{named[0].replace('_', '-')}-file"
        raise CommandError(
            f"{named[0]} is a secret, and arguments are seen by everybody on this machine: give it by {flag} FILE, "
            f"or {flag} - to read it from stdin",
            returncode=2,
        )
    files = {name: options[f"{name}_file"] for name in names if options[f"{name}_file"] is not None}
    if list(files.values()).count("-") > 1:
        raise CommandError("only one secret can be read from stdin; put the others into files", returncode=2)
    return {**settings, **{name: _read(name, file) for name, file in files.items()}}


def _read(name: str, file: str) -> str:
    try:
        text = sys.stdin.read(MAX_BYTES + 1) if file == "-" else _text_of(Path(file))
    except OSError as exc:
        raise CommandError(f"{name}: {file} cannot be read: {exc.strerror}", returncode=2) from None
    except UnicodeDecodeError:
        raise CommandError(f"{name}: {file} is not a text", returncode=2) from None
    if len(text) > MAX_BYTES:
        raise CommandError(f"{name}: {file} is longer than {MAX_BYTES:,} characters", returncode=2)
    return text.strip()


def _text_of(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MAX_BYTES + 1)
