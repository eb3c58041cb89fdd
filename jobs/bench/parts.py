"""A benchmark of several parts: what each is given, what it gives, and how they are run one after another.

What is compared is measured in turns within one part, so that what else the machine does meets all alike. Compare the
ratios: the absolute numbers are this machine's, at this moment.
"""

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.bench import machine
from jobs.bench.figures import Figure, Options, Report, rounded
from jobs.bench.stack import Stack, own_stack


@dataclass
class Outcome:
    """figures: by key. medians: tables of further numbers, by name. not_measured: keys, and what to install.

    told: what else to keep, such as how many of what were measured.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    medians: dict[str, dict[str, float]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        self.figures |= other.figures
        self.medians |= other.medians
        self.not_measured |= other.not_measured
        self.told |= other.told


Part = Callable[[Stack, Options], Outcome]


def tell(line: str) -> None:
    """Progress, for whoever watches: the answer itself goes to stdout."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def rounds(options: Options, usually: int) -> int:
    return options.rounds or (1 if options.quick else usually)


def run_parts(
    name: str, modules: Mapping[str, str], options: Options, prepare: Callable[[Stack], None], times: int
) -> Report:
    """Run those parts of benchmark `name` that are wanted, each after `prepare`.

    modules: part → the module whose `measure` it is. times: how often each is measured, to be told.
    """
    bystanders = machine.Bystanders()
    outcome = Outcome(medians={"bare_loop": {"calls_per_s": rounded(machine.bare_loop_per_s())}})
    seconds: dict[str, float] = {}
    with own_stack() as stack:
        for part in [part for part in modules if part in options.only or not options.only]:
            measure: Part = importlib.import_module(modules[part]).measure
            began = time.monotonic()
            prepare(stack)
            outcome.add(measure(stack, options))
            seconds[part] = round(time.monotonic() - began, 1)
            tell(f"{part}: {seconds[part]} s")
    return Report(
        name=name,
        machine=machine.describe(),
        rounds=times,
        figures=outcome.figures,
        further={
            **outcome.told,
            "seconds": seconds,
            "medians": outcome.medians,
            "not_measured": outcome.not_measured,
            "also_ran": bystanders.report(),
        },
    )
