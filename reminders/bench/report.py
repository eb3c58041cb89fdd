"""Runs the parts one after another on servers of their own."""

from jobs.bench.figures import Options, Report
from jobs.bench.parts import run_parts
from reminders.bench import BY_NAME, PARTS
from reminders.bench.fill import empty

ROUNDS = 5


def run(options: Options) -> Report:
    wanted = {part: module for part, module in PARTS.items() if part in options.only or part not in BY_NAME}
    return run_parts("reminders", wanted, options, empty, options.rounds or (1 if options.quick else ROUNDS))
