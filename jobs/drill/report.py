"""A drill's rows: what a fault cost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobs.bench.figures import percentile
from jobs.drill.registry import Scene
from jobs.drill.verdict import Facts, Verdict

#: What the system promises, in seconds: figure → at most.
PROMISES = {"rerun_p95_s": 30.0, "resent_s": 5.0, "recovered_s": 30.0}
COLUMNS = {
    "fault": "fault",
    "injected": "times",
    "sent": "sent",
    "finished": "finished",
    "lost": "lost",
    "run_twice": "run twice",
    "effects_doubled": "doubled",
    "ghost": "ghost",
    "stuck": "stuck",
    "failed": "failed",
    "uncertain": "uncertain",
    "recovered_s": "recovered s",
    "rerun_p95_s": "rerun p95 s",
    "verdict": "",
}


@dataclass
class FaultReport:
    """One row. skipped: why the fault was left out. broken: what did not come out as expected."""

    fault: str
    seed: str
    verdict: Verdict = field(default_factory=Verdict)
    injected: int = 0
    recovered_s: float | None = None
    rerun_s: list[float] = field(default_factory=list)
    resent_s: list[float] = field(default_factory=list)
    send_s: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    skipped: str = ""
    is_mixed: bool = False

    @property
    def holds(self) -> bool:
        return self.verdict.holds and not self.broken

    def as_json(self) -> dict[str, Any]:
        verdict = self.verdict
        answer: dict[str, Any] = {
            "fault": self.fault,
            "sent": verdict.sent,
            "finished": verdict.finished,
            "lost": len(verdict.lost),
            "run_twice": len(verdict.twice),
            "effects_doubled": len(verdict.doubled),
            "recovered_s": self.recovered_s,
            "ghost": len(verdict.ghosts),
            "stuck": len(verdict.stuck),
            "effects_missing": len(verdict.missing_effects),
            "uncertain": len(verdict.uncertain),
            "crashed_out": len(verdict.crashed_out),
            "failed": len(verdict.failed),
            "failed_unexplained": len(verdict.unexplained),
            "injected": self.injected,
            "rerun_p95_s": _rounded(percentile(self.rerun_s, 0.95)) if self.rerun_s else None,
            "rerun_max_s": _rounded(max(self.rerun_s)) if self.rerun_s else None,
            "resent_s": _rounded(max(self.resent_s)) if self.resent_s else None,
            "send_p99_ms": _rounded(percentile(self.send_s, 0.99) * 1000) if self.send_s else None,
            "seed": self.seed,
            "holds": self.holds,
            "broken": self.broken,
            "figures": self.figures,
            "skipped": self.skipped,
        }
        # While faults overlap, the times of one are those of others, too.
        promised = {} if self.is_mixed else PROMISES
        answer["promises_kept"] = {
            name: answer[name] <= most for name, most in promised.items() if answer[name] is not None
        }
        answer["ids"] = {
            name: ids[:20]
            for name in ("lost", "twice", "doubled", "ghosts", "stuck", "missing_effects")
            if (ids := getattr(verdict, name))
        }
        answer["notes"] = self.notes
        answer["errors"] = dict(list(verdict.failed.items())[:20])
        return answer


def measure(report: FaultReport, scenes: list[Scene], facts: Facts) -> None:
    """Fill in what the injections of one fault have noted."""
    report.injected = sum(not scene.not_injected for scene in scenes)
    odd = [*report.verdict.lost, *report.verdict.stuck, *report.verdict.twice, *report.verdict.unexplained]
    report.notes = {job_id: facts.rows[job_id].note for job_id in odd[:20] if job_id in facts.rows}
    for scene in scenes:
        report.broken += scene.broken
        report.resent_s += scene.resent_s
        report.figures |= {key: value for key, value in scene.figures.items() if key != "alone"}
        if scene.not_injected:
            report.figures.setdefault("not_injected", []).append(scene.not_injected)
        for job_id, hit_at in scene.hit.items():
            starts = facts.rows[job_id].starts if job_id in facts.rows else []
            again = [start for start in starts if start > hit_at]
            if again:
                report.rerun_s.append(min(again) - hit_at)


def recovered(scenes: Iterable[Scene], facts: Facts) -> float:
    """Seconds, at most, from the end of a fault until all that was owed then had finished."""
    return _rounded(
        max(
            (
                row.finished_at - scene.ended_at
                for scene in scenes
                for row in facts.rows.values()
                if row.finished_at is not None and row.created_at <= scene.ended_at < row.finished_at
            ),
            default=0.0,
        )
    )


def _rounded(value: float) -> float:
    return round(value, 2)
