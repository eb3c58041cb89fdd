"""Seeded bugs: of those that linters can see, how many are told, and how much is told beside them."""

from jobs.bench.figures import Figure, Options
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import Stack
from reviews.bench.seeded import clean_cases, seeded_cases
from reviews.bench.seeded import measure as measure_cases

#: A quick run takes every so many-th case.
QUICK_STEP = 30
SHOWN = 20


def measure(stack: Stack, options: Options) -> Outcome:
    cases = [*seeded_cases(), *clean_cases()]
    found = measure_cases(cases[::QUICK_STEP] if options.quick else cases)
    tell(f"seeded: {found.found} of {found.seeded} bugs told, and {len(found.false)} remarks beside them")
    told = {
        "bugs": found.seeded,
        "clean_changes": found.clean,
        "told": found.told,
        "missed": list(found.missed[:SHOWN]),
        "false": [f"{name}: {one.path}:{one.line} {one.rule}" for name, one in found.false[:SHOWN]],
    }
    return Outcome(
        figures={
            "seeded_precision": Figure(found.precision, "of what is told", at_least=0.95),
            "seeded_recall": Figure(found.recall, "of the bugs", at_least=0.95),
        },
        told={"seeded": told},
    )
