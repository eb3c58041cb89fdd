"""Four scanners in processes of their own over the same rows, beside one who changes the same tasks."""

from contextlib import ExitStack

from jobs.bench.children import Child
from jobs.bench.figures import Figure, Options
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import BenchError, Stack
from reminders.bench import fill
from reminders.bench.clock import scanner

SCANNERS, ROUNDS, DUE, EACH = 4, 5, 5_000, 5
QUICK_SHARE = 10

_COUNTS = {
    "reminders twice": """
        SELECT count(*) FROM (SELECT FROM reminders_reminder GROUP BY todo_id, kind, recipient_id, schedule_version
                              HAVING count(*) > 1) twice
    """,
    "in two messages": """
        SELECT count(*) FROM (SELECT FROM reminders_deliveredreminder GROUP BY reminder_id HAVING count(*) > 1) twice
    """,
    "messages with two jobs": """
        SELECT count(*) FROM (SELECT FROM jobs_job WHERE task = 'reminders.deliver' GROUP BY unique_key
                              HAVING count(*) > 1) twice
    """,
}
_LEFT = """
    SELECT (SELECT count(*) FROM reminders_plannedreminder WHERE fire_at <= %s)
         + (SELECT count(*) FROM reminders_reminder WHERE state = 'due')
         + (SELECT count(*) FROM reminders_reminderdelivery WHERE job_id = '')
"""
_DEADLOCKS = "SELECT pg_stat_force_next_flush(), deadlocks FROM pg_stat_database WHERE datname = current_database()"


def measure(stack: Stack, options: Options) -> Outcome:
    times = rounds(options, ROUNDS)
    due = (options.tasks or DUE) // (QUICK_SHARE if options.quick else 1)
    found: dict[str, int] = dict.fromkeys((*_COUNTS, "deadlocks", "failed scans"), 0)
    deeds = 0
    with ExitStack() as several:
        scanners = [several.enter_context(scanner(stack, f"scanner-{number}")) for number in range(SCANNERS)]
        other = several.enter_context(scanner(stack, "deeds"))
        for one in (*scanners, other):
            one.call("racing.warm")
        for number in range(times):
            deeds += _round(stack, scanners, other, due, number, found)
    tell(f"races: {times} rounds of {due:,}, {deeds:,} deeds beside them: {found}")
    return Outcome(
        figures={
            "doubled": Figure(sum(found[kind] for kind in _COUNTS), "reminders", at_most=0),
            "deadlocks": Figure(found["deadlocks"], "deadlocks", at_most=0),
            "failed_scans": Figure(found["failed scans"], "scans", at_most=0),
        },
        told={"races": {"rounds": times, "due": due, "scanners": SCANNERS, "deeds": deeds, **found}},
    )


def _round(stack: Stack, scanners: list[Child], other: Child, due: int, number: int, found: dict[str, int]) -> int:
    """Returns how many deeds were done meanwhile."""
    fill.empty(stack)
    fill.people(stack, due // EACH)
    fill.tasks(stack, due, of_people=due // EACH, due=True)
    before = _one(stack, _DEADLOCKS)
    for one in scanners:
        one.ask("racing.scan")
    other.ask("racing.deeds", most=due // 10, tasks=due, seed=number)
    said = [one.answer() for one in (*scanners, other)]
    scanners[0].call("racing.scan")
    found["failed scans"] += sum(one["failed"] for one in said)
    found["deadlocks"] += _one(stack, _DEADLOCKS) - before
    for kind, query in _COUNTS.items():
        found[kind] += _one(stack, query)
    with stack.connect() as connection:
        left = connection.execute(_LEFT.encode(), [fill.NOW]).fetchone()
    if left != (0,):
        raise BenchError(f"{left} reminders or messages were left over")
    return int(said[-1]["done"])


def _one(stack: Stack, query: str) -> int:
    with stack.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[-1]) if row else 0
