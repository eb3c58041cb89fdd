"""`manage.py bench reminders`."""

from jobs.bench.figures import Options, Report
from jobs.bench.registry import benchmark

#: Part → the module that measures it.
PARTS = {
    "scan": "reminders.bench.scan",
    "drain": "reminders.bench.drain",
    "races": "reminders.bench.races",
    "year": "reminders.bench.year",
}
#: Runs only when it is named: it takes minutes, and with --large hours.
BY_NAME = ("year",)


@benchmark("reminders", summary="scan a million tasks, drain, race, live through a year", parts=tuple(PARTS))
def reminders(options: Options) -> Report:
    from reminders.bench.report import run

    return run(options)
