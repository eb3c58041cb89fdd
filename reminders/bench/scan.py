"""A scan among a million open tasks: with some due, and with none."""

import statistics

from jobs.bench.figures import Figure, Options, median_of, rounded
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import BenchError, Stack
from reminders.bench import fill
from reminders.bench.clock import scanner

TASKS, PEOPLE, DUE, ROUNDS = 1_000_000, 10_000, 562, 5
IDLE_SCANS = 20
QUICK_SHARE = 100


def measure(stack: Stack, options: Options) -> Outcome:
    share = QUICK_SHARE if options.quick else 1
    count = options.tasks or TASKS // share
    fill.people(stack, PEOPLE // min(share, 10))
    fill.tasks(stack, count, of_people=PEOPLE // min(share, 10))
    fill.analyze(stack)
    due = min(DUE, count // 10)
    measured = []
    with scanner(stack) as one:
        one.call("scans.warm")
        for number in range(1, rounds(options, ROUNDS) + 1):
            fill.fall_due(stack, due, 2 * number)
            values = {"fire_ms": one.call("scans.fire")}
            one.call("scans.scan")
            fill.fall_due(stack, due, 2 * number + 1)
            values["bare_insert_ms"] = one.call("scans.bare")
            said = one.call("scans.scan")
            if said["fired"] != due or said["deliveries"] != due:
                raise BenchError(f"{due} were due, and a scan made {said}")
            values["jobs_per_s"] = one.call("scans.send_jobs", most=2 * due)
            idle = [one.call("scans.scan")["scan_ms"] for _ in range(IDLE_SCANS)]
            measured.append(
                values | {"scan_ms": said["scan_ms"], "scan_cpu_ms": said["cpu_ms"], "idle_ms": statistics.median(idle)}
            )
        planned = one.call("scans.replan", count=5_000 // min(share, 10))
    medians = median_of(measured)
    tell(f"scan: {due} of {count:,} in {medians['scan_ms']:.1f} ms, none in {medians['idle_ms']:.2f} ms")
    return Outcome(
        figures={
            "scan_1m_ms": Figure(medians["scan_ms"], "ms", at_most=50),
            "scan_idle_ms": Figure(medians["idle_ms"], "ms", at_most=5),
            "jobs_per_s": Figure(medians["jobs_per_s"], "jobs/s"),
            "planned_per_s": Figure(planned, "tasks/s"),
        },
        medians={"scan": medians},
        told={"scan": {"tasks": count, "due": due, "scans_ms": [rounded(one["scan_ms"]) for one in measured]}},
    )
