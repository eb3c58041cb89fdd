"""Which faults there are. Each is a function of a Scene, registered by name."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.utils.module_loading import import_string

from jobs.drill.system import System

FAULT_MODULES = ("workers", "broker", "database", "senders", "schedules", "messages")


class UnknownFault(LookupError):
    """No fault of that name is registered."""


@dataclass
class Scene:
    """What a fault has to work with, and where it notes what it saw.

    rng: the fault's own, from the drill's seed. tag: what its senders' journals are named by. long: whether outages
    may take minutes. hit: the jobs that it hit, which must run again, and when; times are of time.time(). broken: what
    did not come out as expected, in sentences. not_injected: why it was not, if so: another fault was in its way.
    """

    system: System
    rng: random.Random
    long: bool
    seed: str
    tag: str
    began_at: float = field(default_factory=time.time)
    ended_at: float = 0.0
    hit: dict[str, float] = field(default_factory=dict)
    resent_s: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    not_injected: str = ""

    def expect(self, condition: bool, sentence: str) -> None:
        """Note a sentence unless the condition holds."""
        if not condition:
            self.broken.append(sentence)

    def rows(self, query: str, *parameters: Any, patience_seconds: float = 0.0) -> list[tuple[Any, ...]]:
        """Ask the ledger. While Postgres is away, as other faults may have it, wait; then there are no rows."""
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                with self.system.connect() as connection:
                    return connection.execute(query, parameters).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() >= deadline:
                    return []
                time.sleep(0.1)

    def note_hit(self, where: str, *parameters: Any, patience_seconds: float = 10.0) -> None:
        """Remember the jobs that the fault has just hit, by a condition on the table of jobs."""
        at = time.time()
        found = self.rows(
            f"SELECT id FROM jobs_job WHERE {where}",  # noqa: S608
            *parameters,
            patience_seconds=patience_seconds,
        )
        self.hit |= {row[0]: at for row in found}


Inject = Callable[[Scene], None]


@dataclass(frozen=True)
class Fault:
    """row: its number in the catalogue of docs/reliability.md. weight: how often it is drawn in the mixed form, 0 for
    never. missing: tells why it cannot be injected here, or None. times: how often it is injected by itself.
    """

    name: str
    summary: str
    row: int
    inject: Inject
    weight: int
    missing: Callable[[], str | None]
    times: int = 1


_registered: dict[str, Fault] = {}


def fault(
    name: str,
    summary: str,
    *,
    row: int,
    weight: int = 0,
    missing: Callable[[], str | None] = lambda: None,
    times: int = 1,
) -> Callable[[Inject], Inject]:
    """Register a function as the fault `name`. Raises ValueError if that name is taken."""

    def register(inject: Inject) -> Inject:
        if name in _registered:
            raise ValueError(f"a fault named {name!r} is registered already")
        _registered[name] = Fault(name, summary, row, inject, weight, missing, times)
        return inject

    return register


def faults() -> list[Fault]:
    """All faults, in the catalogue's order."""
    for module in FAULT_MODULES:
        import_string(f"jobs.drill.faults.{module}.__name__")
    return sorted(_registered.values(), key=lambda fault: fault.row)


def find(name: str) -> Fault:
    """Raises UnknownFault, naming what there is."""
    known = {fault.name: fault for fault in faults()}
    if name not in known:
        raise UnknownFault(f"unknown fault {name!r}; choose from: all, mixed, {', '.join(known)}")
    return known[name]
