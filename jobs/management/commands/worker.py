from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.lanes import LANES


class Command(BaseCommand):
    help = (
        "Run the worker of a lane in the foreground; of several lanes, as supervised processes. SIGTERM or Ctrl-C lets "
        "running jobs end first. Lanes: "
        + "; ".join(f"{lane.name} ({', '.join(queue.purpose for queue in lane.queues)})" for lane in LANES.values())
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("lanes", nargs="+", metavar="LANE", help=f"one or more of: {', '.join(LANES)}")

    def handle(self, *args: Any, lanes: list[str], **options: Any) -> None:
        unknown = [name for name in lanes if name not in LANES]
        if unknown:
            raise CommandError(f"unknown lane {unknown[0]!r}; choose from: {', '.join(LANES)}", returncode=2)
        chosen = [LANES[name] for name in dict.fromkeys(lanes)]
        if len(chosen) == 1:
            from jobs.stack.roles import work

            raise SystemExit(work(chosen[0], lambda word: None))
        from jobs.stack.stack import Workers

        raise SystemExit(Workers(chosen).supervise())
