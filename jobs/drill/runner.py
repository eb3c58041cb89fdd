"""Runs a drill: load, faults, settling, verdict."""

import contextlib
import random
import signal
import threading
import time
import traceback
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis

from jobs.drill import verdict
from jobs.drill.errors import DrillError
from jobs.drill.faults.schedules import check_ticks
from jobs.drill.process import Process
from jobs.drill.registry import Fault, Scene
from jobs.drill.report import FaultReport, measure, recovered
from jobs.drill.system import START_SECONDS, System

#: Settled means that nothing is unfinished; what still is when nothing has ended for so many seconds is STUCK.
STUCK_SECONDS = 30.0
#: And after so many, LOST.
LOST_SECONDS = 90.0
LEAD_SECONDS = 3.0
TAIL_SECONDS = 2.0
SENDERS = (("python", 2), ("rest", 1))
MIXED = "mixed"
#: What one fault may meet because of another that lasts, or has ended the process that was meant.
IN_THE_WAY = (DrillError, ProcessLookupError, psycopg.OperationalError, redis.RedisError)


@dataclass(frozen=True)
class Load:
    """How much is sent: so many sends a second by all senders together, until `jobs` were sent if that is set."""

    rate: float = 10.0
    jobs: int | None = None


@dataclass(frozen=True)
class Moment:
    """When a fault is injected, in seconds after the load began. seed: of its own choices."""

    at: float
    fault: Fault
    seed: str


def plan(seed: str, faults: Sequence[Fault], count: int, seconds: float) -> list[Moment]:
    """Draw `count` faults and their moments; the same seed draws the same. Every fault is drawn once, if there is room.

    Faults that are no part of a mixed form (weight 0) are not drawn.
    """
    rng = random.Random(f"{seed}/plan")  # noqa: S311  (no secret)
    drawable = [fault for fault in faults if fault.weight and fault.missing() is None]
    if not drawable:
        return []
    chosen = rng.sample(drawable, min(count, len(drawable)))
    chosen += rng.choices(drawable, [fault.weight for fault in drawable], k=count - len(chosen))
    rng.shuffle(chosen)
    times = sorted(rng.uniform(0, seconds) for _ in chosen)
    return [Moment(at, fault, f"{seed}/{i}") for i, (at, fault) in enumerate(zip(times, chosen, strict=True))]


@dataclass
class Wave:
    """One load and the faults in it. is_counted: the senders stop by themselves. The load outlasts the faults."""

    began_at: float
    is_counted: bool
    load_ended_at: float = 0.0
    senders: list[Process] = field(default_factory=list)
    scenes: list[tuple[Fault, Scene]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Drill:
    def __init__(self, system: System, seed: str, *, load: Load, long: bool, say: Callable[[str], None]) -> None:
        self.system = system
        self.seed = seed
        self.load = load
        self.long = long
        self.say = say
        self.waves = 0

    def one(self, fault: Fault, times: int | None = None, seconds: float | None = None) -> FaultReport:
        """One kind of fault, so many times one after another (its own number), under load."""
        reason = fault.missing()
        if reason is not None:
            self.say(f"{fault.name}: left out: {reason}")
            return FaultReport(fault.name, self.seed, skipped=reason)
        self.say(f"{fault.name}: {fault.summary}")
        wave = self._begin()
        for i in range(times or fault.times):
            self._inject(wave, Moment(0, fault, f"{self.seed}/{fault.name}/{i}"), alone=True).join_with(self._keep)
            self._until(time.monotonic() + TAIL_SECONDS)
        if seconds is not None:
            self._until(time.monotonic() + max(0.0, seconds - (time.time() - wave.began_at)))
        facts = self._end(wave)
        report = FaultReport(fault.name, self.seed, verdict.judge(facts))
        scenes = [scene for _, scene in wave.scenes]
        measure(report, scenes, facts)
        report.recovered_s = recovered(scenes, facts)
        report.broken += wave.broken
        _add_sends(report, facts)
        self._tell(report)
        return report

    def mixed(self, faults: Sequence[Fault], count: int, seconds: float, load: Load | None = None) -> list[FaultReport]:
        """Many faults at moments of their own, overlapping. Returns a report a kind, and last one of all together."""
        moments = plan(self.seed, faults, count, seconds)
        self.say(f"{MIXED}: {len(moments)} faults within {seconds:.0f} s")
        wave = self._begin(load)
        began = time.monotonic()
        running: list[Injection] = []
        for number, moment in enumerate(moments, 1):
            self._until(began + moment.at)
            self.say(f"{MIXED}: {number} of {len(moments)}: {moment.fault.name}")
            running.append(self._inject(wave, moment, alone=False))
        for injection in running:
            injection.join_with(self._keep)
        self._until(began + seconds)
        facts = self._end(wave)
        return self._reports(wave, facts)

    def _reports(self, wave: Wave, facts: verdict.Facts) -> list[FaultReport]:
        """A job is counted with the fault that came last before it was sent."""
        scenes = sorted(wave.scenes, key=lambda pair: pair[1].began_at)
        among: dict[str, set[str]] = {fault.name: set() for fault, _ in scenes}
        begins = [scene.began_at for _, scene in scenes]
        for row in facts.rows.values() if scenes else ():
            last = scenes[max(0, bisect_right(begins, row.created_at) - 1)][0]
            among[last.name].add(row.id)
        reports = []
        for name, ids in sorted(among.items()):
            report = FaultReport(name, self.seed, verdict.judge(facts, ids))
            measure(report, [scene for fault, scene in scenes if fault.name == name], facts)
            reports.append(report)
        total = FaultReport(MIXED, self.seed, verdict.judge(facts))
        measure(total, [scene for _, scene in scenes], facts)
        # While faults overlap, what one of them costs cannot be told from the others.
        settled = max((row.finished_at or 0.0 for row in facts.rows.values()), default=0.0)
        for report in (*reports, total):
            report.is_mixed = True
            report.recovered_s = round(max(0.0, settled - wave.load_ended_at), 2)
        slowest = sorted(facts.rows.values(), key=lambda row: row.created_at - (row.finished_at or time.time()))[:5]
        total.figures = {
            "slowest": [f"{(row.finished_at or 0) - row.created_at:.1f} s: {row.id} {row.note}" for row in slowest]
        }
        total.broken += wave.broken
        _add_sends(total, facts)
        self._tell(total)
        return [*reports, total]

    # --- a wave ----------------------------------------------------------------------------------------------------

    def _begin(self, load: Load | None = None) -> Wave:
        """Start the senders, and wait until all of them have sent something."""
        load = load or self.load
        self.waves += 1
        self.system.wait_workers()
        wave = Wave(time.time(), load.jobs is not None)
        journals = []
        kinds = [kind for kind, count in SENDERS for _ in range(count)]
        share: dict[str, Any] = {"rate": load.rate / len(kinds), "seed": f"{self.seed}/{self.waves}"}
        if load.jobs is not None:
            share["count"] = max(1, load.jobs // len(kinds))
        for i, kind in enumerate(kinds):
            sender = self.system.sender(f"{self.waves}-{i}", **share, **{"as": kind})
            self.system.processes[sender.name] = sender
            sender.start(once=True)
            wave.senders.append(sender)
            journals.append(self.system.journal(f"{self.waves}-{i}"))
        deadline = time.monotonic() + START_SECONDS
        while not all(journal.exists() and journal.stat().st_size for journal in journals):
            if time.monotonic() > deadline:
                raise DrillError(f"the senders did not start:\n{wave.senders[0].read_log()}")
            self._keep()
        self._until(time.monotonic() + LEAD_SECONDS)
        return wave

    def _inject(self, wave: Wave, moment: Moment, *, alone: bool) -> "Injection":
        rng = random.Random(moment.seed)  # noqa: S311  (no secret)
        scene = Scene(self.system, rng, self.long and alone, moment.seed, tag=f"{self.waves}-{len(wave.scenes)}")
        scene.figures["alone"] = alone
        wave.scenes.append((moment.fault, scene))
        injection = Injection(moment.fault, scene)
        injection.start()
        return injection

    def _end(self, wave: Wave) -> verdict.Facts:
        """Stop the load, wait until all is settled, and gather the facts."""
        if wave.is_counted:
            while any(sender.pid is not None for sender in wave.senders):
                self._keep()
        for sender in wave.senders:
            sender.send(signal.SIGTERM)
        deadline = time.monotonic() + 20
        while any(sender.pid is not None for sender in wave.senders) and time.monotonic() < deadline:
            self._keep()
        for sender in wave.senders:
            sender.end()
            del self.system.processes[sender.name]
        settling_since = wave.load_ended_at = time.time()
        stuck = self._settle(wave, settling_since)
        journals = sorted(self.system.folder.glob(f"journal-{self.waves}-*.jsonl"))
        with self.system.connect() as connection:
            rows = verdict.read_rows(connection, wave.began_at)
            wave.broken += check_ticks(connection, wave.began_at)
        rows = {row.id: row for row in rows.values() if row.origin != "schedule" or row.created_at <= settling_since}
        calls = verdict.read_calls(self.system.judge_log)
        sent = verdict.read_journals(journals)
        mine = {row.key for row in rows.values() if row.key} | {entry.key for entry in sent if entry.key}
        earlier = self._keys_before(wave)
        calls = type(calls)({key: count for key, count in calls.items() if key in mine or key not in earlier})
        return verdict.Facts(sent, rows, calls, stuck)

    def _keys_before(self, wave: Wave) -> set[str]:
        with self.system.connect() as connection:
            rows = connection.execute(
                "SELECT kwargs->>'key' FROM jobs_job WHERE created_at < to_timestamp(%s) AND kwargs ? 'key'",
                [wave.began_at],
            ).fetchall()
        return {row[0] for row in rows}

    def _settle(self, wave: Wave, began_at: float) -> set[str]:
        """Wait until nothing is unfinished. Returns the ids that were STUCK.

        A backlog that a slow machine works through is not: each job that ends gives the others time anew.
        """
        began = moved_at = time.monotonic()
        stuck: set[str] = set()
        before: set[str] | None = None
        while True:
            self._keep()
            left, now = self._unfinished(wave, began_at), time.monotonic()
            if left is not None and not left:
                self.say(f"settled after {now - began:.1f} s")
                return stuck
            if left is not None and left != before:
                before, moved_at = left, now
            if now - moved_at > STUCK_SECONDS and not stuck and left is not None:
                stuck = left
                self.say(f"{len(left)} jobs are unfinished, and none has ended for {STUCK_SECONDS:.0f} s")
            if now - moved_at > LOST_SECONDS:
                self.say(f"{len(left or ())} jobs are left unfinished")
                return stuck
            time.sleep(0.1)

    def _unfinished(self, wave: Wave, settling_since: float) -> set[str] | None:
        """None while Postgres does not answer. Schedules go on meanwhile: what they send now is not waited for."""
        try:
            with self.system.connect() as connection:
                rows = connection.execute(
                    f"SELECT id FROM jobs_job WHERE {verdict.UNFINISHED_SQL} AND created_at >= to_timestamp(%s) "  # noqa: S608
                    "AND NOT (origin = 'schedule' AND created_at > to_timestamp(%s))",
                    [wave.began_at, settling_since],
                ).fetchall()
        except psycopg.OperationalError:
            return None
        return {row[0] for row in rows}

    def _until(self, moment: float) -> None:
        while time.monotonic() < moment:
            self._keep()

    def _keep(self) -> None:
        self.system.keep()
        time.sleep(0.03)

    def _tell(self, report: FaultReport) -> None:
        found = report.as_json()
        word = "holds" if report.holds else "BROKEN"
        numbers = ", ".join(
            f"{key} {found[key]}"
            for key in ("sent", "finished", "lost", "run_twice", "effects_doubled", "ghost", "stuck")
        )
        self.say(f"{report.fault}: {word}: {numbers}; settled in {found['recovered_s']} s")


def _add_sends(report: FaultReport, facts: verdict.Facts) -> None:
    """How long sends took, and what the API answered: 599 stands for no answer."""
    report.send_s = [entry.took for entry in facts.sent if entry.state == "committed"]
    report.figures["rest_answers"] = Counter(entry.kind for entry in facts.sent if entry.kind.startswith("rest "))


class Injection(threading.Thread):
    """One fault, in a thread of its own, so that others may overlap it."""

    def __init__(self, fault: Fault, scene: Scene) -> None:
        super().__init__(name=f"fault-{fault.name}", daemon=True)
        self.fault = fault
        self.scene = scene

    def run(self) -> None:
        try:
            self.fault.inject(self.scene)
        except Exception as exc:
            where = traceback.extract_tb(exc.__traceback__)[-1]
            said = " ".join(str(exc).split())[:300]
            sentence = f"{type(exc).__name__}: {said} ({where.name}, line {where.lineno})"
            if isinstance(exc, IN_THE_WAY) and not self.scene.figures["alone"]:
                self.scene.not_injected = sentence
            else:
                self.scene.broken.append(sentence)
        finally:
            self.scene.ended_at = time.time()

    def join_with(self, keep: Callable[[], Any]) -> None:
        """Wait for its end, doing meanwhile what the main thread must."""
        while self.is_alive():
            keep()
        with contextlib.suppress(RuntimeError):
            self.join()
