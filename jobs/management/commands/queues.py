"""`manage.py queues`: how full each queue is, and what holds queues, tasks and everything back."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import OperatorCommand, add_verbs
from jobs.models import Scope
from jobs.operators.actors import command_actor
from jobs.operators.limits import (
    LimitState,
    limit_states,
    parse_duration,
    parse_rate,
    pause,
    resume,
    set_limits,
)
from jobs.operators.queues import queue_states

COLUMNS = {
    "name": "QUEUE",
    "lane": "LANE",
    "waiting": "WAITING",
    "scheduled": "SCHEDULED",
    "running": "RUNNING",
    "oldest_waiting_seconds": "OLDEST (S)",
    "workers": "WORKERS",
    "held": "HELD",
    "limits": "HELD BY",
    "purpose": "FOR",
}
LIMIT_COLUMNS = {"scope": "SCOPE", "name": "NAME", "paused": "PAUSED", "text": "LIMITS"}
NONE = "none"


class Command(OperatorCommand):
    help = "Show the queues; pause, resume and limit queues, tasks and everything."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list the queues, how full they are and who serves them", None),
                ("limits", "list the limits and pauses", None),
                ("pause", "let no job of it start, until it is resumed; what runs goes on", _add_pause),
                ("resume", "end its pause", _add_scope),
                ("limit", "set how much of it runs at once or begins in a period, over all workers", _add_limits),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        if verb == "list":
            self._print(COLUMNS, [asdict(state) for state in queue_states()], as_json)
            return
        if verb == "limits":
            self._print(LIMIT_COLUMNS, [asdict(state) for state in limit_states()], as_json)
            return
        actor, (scope, name) = command_actor(), _scope(options)
        if verb == "pause":
            seconds = parse_duration(options["for"]) if options["for"] is not None else None
            state = pause(actor, scope, name, reason=options["reason"], for_seconds=seconds)
        elif verb == "resume":
            state = resume(actor, scope, name)
        else:
            state = set_limits(actor, scope, name, _changes(options))
        self._tell(state, as_json)

    def _print(self, columns: dict[str, str], rows: list[dict[str, Any]], as_json: bool) -> None:
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(columns, rows)

    def _tell(self, state: LimitState, as_json: bool) -> None:
        if as_json:
            self.print_json(asdict(state))
        self.say(f"{state.title}: {state.text or 'neither paused nor limited'}")


def _add_scope(parser: ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("queue", nargs="?", metavar="QUEUE", help="a queue")
    chosen.add_argument("--task", metavar="NAME", help="a task, in whichever queue")
    chosen.add_argument("--everything", action="store_true", help="all queues")


def _add_pause(parser: ArgumentParser) -> None:
    _add_scope(parser)
    parser.add_argument("--reason", default="", help="shown to all, and kept in the audit log")
    parser.add_argument("--for", metavar="TIME", help="resume by itself after it, such as 90s, 10m, 2h or 1d")


def _add_limits(parser: ArgumentParser) -> None:
    _add_scope(parser)
    parser.add_argument("--concurrency", metavar="N", help="jobs that run at once; 'none' for no limit")
    parser.add_argument("--key-concurrency", metavar="N", help="the same, of one limit key")
    parser.add_argument("--rate", metavar="N/PERIOD", help="runs that begin in a period, such as 10/minute or 100/30s")


def _scope(options: dict[str, Any]) -> tuple[str, str]:
    if options["everything"]:
        return Scope.EVERYTHING, ""
    if options["task"] is not None:
        return Scope.TASK, options["task"]
    return Scope.QUEUE, options["queue"]


def _changes(options: dict[str, Any]) -> dict[str, int | None]:
    """Raises CommandError if nothing is asked for, or a number is none."""
    changes: dict[str, int | None] = {}
    for name in ("concurrency", "key_concurrency"):
        text = options[name]
        if text is not None:
            changes[name] = None if text == NONE else _number(f"--{name.replace('_', '-')}", text)
    if options["rate"] == NONE:
        changes["rate"] = None
    elif options["rate"] is not None:
        changes["rate"], changes["rate_seconds"] = parse_rate(options["rate"])
    if not changes:
        raise CommandError("give at least one of --concurrency, --key-concurrency and --rate", returncode=2)
    return changes


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise CommandError(f"{option} {text[:40]!r} is not a whole number, or 'none'", returncode=2)
    return int(text)
