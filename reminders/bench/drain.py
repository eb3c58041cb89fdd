"""After downtime: a hundred thousand reminders are due at once."""

from jobs.bench.figures import Figure, Options, rounded
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import BenchError, Stack
from reminders.bench import fill
from reminders.bench.clock import scanner

DUE = 100_000
QUICK_SHARE = 50
#: Reminders a person → what it is called. One of a person is a message of its own; four become a digest.
SHAPES = {2: "singles", 20: "digests"}


def measure(stack: Stack, options: Options) -> Outcome:
    count = options.tasks or DUE // (QUICK_SHARE if options.quick else 1)
    values: dict[str, float] = {}
    for each, name in SHAPES.items():
        values |= {f"{name}_{key}": rounded(value) for key, value in _drain(stack, count, each, analyzed=True).items()}
    values["singles_unanalyzed_per_s"] = rounded(_drain(stack, count, 2, analyzed=False)["per_s"])
    tell(f"drain: {values['singles_per_s']:,.0f} singles/s, {values['digests_per_s']:,.0f} a second into digests")
    return Outcome(
        figures={
            "drain_per_s": Figure(values["singles_per_s"], "reminders/s", at_least=5_000),
            "drain_memory_mb": Figure(values["singles_memory_mb"], "MiB"),
        },
        medians={"drain": values},
        told={"drain": {"due": count}},
    )


def _drain(stack: Stack, count: int, each: int, *, analyzed: bool) -> dict[str, float]:
    """analyzed: whether autovacuum has had its minute since the tasks came."""
    fill.empty(stack)
    fill.people(stack, count // each)
    fill.tasks(stack, count, of_people=count // each, due=True)
    if analyzed:
        fill.analyze(stack)
    with scanner(stack) as one:
        one.call("scans.connect")
        said = one.call("scans.scan")
        if said["fired"] != count:
            raise BenchError(f"{count} were due, and {said['fired']} fired")
        return {
            "per_s": count / said["scan_ms"] * 1000,
            "per_cpu_s": count / said["cpu_ms"] * 1000,
            "deliveries": said["deliveries"],
            "memory_mb": one.call("scans.memory_mb"),
        }
