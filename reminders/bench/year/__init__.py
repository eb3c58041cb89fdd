"""A year under a virtual clock: people, their deeds, real processes that are killed, and a model that knows better."""

import json
import time
from dataclasses import dataclass

from jobs.bench.figures import Figure, Options, rounded
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import Stack
from reminders.bench.year import script as scripts
from reminders.bench.year.judge import Verdict, judge
from reminders.bench.year.processes import Year

SEED = 20260101
PEOPLE_FROM = 1_000


@dataclass(frozen=True)
class Size:
    """tasks_each: how many a person makes a year. kills: of worker, driver and mail server together."""

    people: int
    days: int
    tasks_each: float
    kills: int
    timeout_seconds: float = 1_100


QUICK = Size(people=40, days=14, tasks_each=25, kills=3)
USUAL = Size(people=40, days=365, tasks_each=8, kills=12)
WHOLE = Size(people=1_000, days=365, tasks_each=3, kills=60, timeout_seconds=4 * 3600)


def measure(stack: Stack, options: Options) -> Outcome:
    size = WHOLE if options.large else QUICK if options.quick else USUAL
    began = time.monotonic()
    verdict, kills = live(stack, size, SEED)
    seconds = time.monotonic() - began
    tell(f"year: {verdict.messages:,} messages, {verdict.faults} faults, {verdict.second_copies} second copies")
    share = 100 * verdict.second_copies / max(1, verdict.messages)
    return Outcome(
        figures={
            "year_faults": Figure(verdict.faults, "reminders", at_most=0),
            "year_second_copies_percent": Figure(share, "%", at_most=1),
        },
        told={"year": {**vars(size), **verdict.as_json(), "kills": kills, "seconds": rounded(seconds)}},
    )


def live(stack: Stack, size: Size, seed: int) -> tuple[Verdict, dict[str, int]]:
    """Live through it on these servers. Returns the judge's verdict, and what was killed how often."""
    script = scripts.write(seed, size.people, size.days, size.tasks_each)
    file = stack.data / "year.json"
    file.write_text(json.dumps(script.as_json(), default=str), encoding="utf-8")
    tell(f"year: {len(script.deeds):,} deeds, {len(script.model.sent):,} reminders expected")
    year = Year(stack, file)
    year.live(script, seed, size.kills, size.timeout_seconds)
    with stack.connect() as connection:
        return judge(script.model.sent, year.taken, connection, PEOPLE_FROM), year.kills
