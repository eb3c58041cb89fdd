"""The workflow that a job belongs to: what ran, what runs, what is to come, and what a chord waits for."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from jobs.ledger.canvas import chain_of, flat, id_of, ids_in, parts_of
from jobs.models import Chord, Job, State
from jobs.models.workflow import OPEN_CHORDS

#: Larger ones are told in counts.
MOST_STEPS = 200
MOST_COUNTED = 10_000
MOST_CULPRITS = 20
TO_COME = "to come"
ROUNDS = 8
_FIELDS = ("id", "task", "state", "parent_id", "root_id", "group_id", "embed", "cancel_requested_at")


@dataclass
class Step:
    """A job, or one to come; or a join, at which a chord's body waits for its members.

    state: a job's, "to come", or a chord's (waiting, resting, joined, dropped, broken). after: ids of the steps that
    lead here. waits_for: of an open join, the failed and cancelled jobs that hold it up, at most `MOST_CULPRITS`.
    """

    id: str
    task: str
    state: str
    kind: str = "job"
    exists: bool = False
    after: list[str] = field(default_factory=list)
    done: int = 0
    size: int = 0
    waits_for: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Workflow:
    """steps: in an order in which each comes after those that lead to it; joins alone if there are too many to show.

    is_complete: whether that is so. counts: jobs by task and state; is_counted_in_full: whether that is all of them.
    """

    steps: list[Step]
    counts: dict[str, dict[str, int]]
    is_counted_in_full: bool = True
    is_complete: bool = True

    @property
    def joins(self) -> list[Step]:
        return [step for step in self.steps if step.kind == "join"]


def workflow_of(job: Job) -> Workflow:
    """The workflow around a job. One that was sent alone, and sent nothing, is a workflow of one step."""
    found = _Family(job)
    if found.is_cut:
        counts, in_full = found.count()
        return Workflow(found.joins(), counts, in_full, is_complete=False)
    graph = _Graph(found)
    return Workflow(graph.sorted(), _by_task((row["task"], row["state"]) for row in found.rows.values()))


def lines_of(workflow: Workflow) -> list[str]:
    """The workflow for a terminal: nothing for a job that stands alone."""
    if len(workflow.steps) < 2 and workflow.is_complete:
        return []
    lines = ["", "workflow:"]
    if not workflow.is_complete:
        for task, states in workflow.counts.items():
            lines.append(f"  {task}: {', '.join(f'{count} {state}' for state, count in states.items())}")
    for step in workflow.steps:
        what = f"join {step.done}/{step.size}" if step.kind == "join" else step.task
        lines.append(
            f"  {step.state:<10} {what}  {step.id}" + (f"  after {', '.join(step.after)}" if step.after else "")
        )
        lines += [f"             waits for {found}, which is {state}" for found, state in step.waits_for]
    return lines


def _by_task(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for (task, state), count in sorted(Counter(pairs).items()):
        counts.setdefault(task, {})[state] = count
    return counts


class _Family:
    """The rows of a workflow: those of one root, one group, one chord, and of what these lead to."""

    def __init__(self, job: Job) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.chords: dict[str, Chord] = {}
        self.roots: set[str] = set()
        self.groups: set[str] = set()
        self.ids: set[str] = {job.pk}
        for _ in range(ROUNDS):
            size = len(self.rows), len(self.chords)
            self._grow()
            if self.is_cut or size == (len(self.rows), len(self.chords)):
                break

    @property
    def is_cut(self) -> bool:
        return len(self.rows) > MOST_STEPS

    @property
    def _query(self) -> Q:
        return (
            Q(pk__in=self.ids | self.roots)
            | Q(root_id__in=self.roots, parent_id__isnull=False)
            | Q(group_id__in=self.groups)
        )

    def _grow(self) -> None:
        for row in Job.objects.filter(self._query).order_by("created_at", "id").values(*_FIELDS)[: MOST_STEPS + 1]:
            self.rows[row["id"]] = row
            self.roots.add(row["root_id"] or row["id"])
            if row["group_id"]:
                self.groups.add(row["group_id"])
        for chord in Chord.objects.filter(Q(pk__in=self.groups) | Q(steps__has_any_keys=sorted(self.rows)))[
            :MOST_STEPS
        ]:
            self.chords[chord.pk] = chord
            self.groups.add(chord.pk)
            self.ids.update(chord.steps[: MOST_STEPS * 2], ids_in(chord.body))

    def count(self) -> tuple[dict[str, dict[str, int]], bool]:
        pairs = list(Job.objects.filter(self._query).values_list("task", "state")[: MOST_COUNTED + 1])
        return _by_task(pairs[:MOST_COUNTED]), len(pairs) <= MOST_COUNTED

    def joins(self) -> list[Step]:
        return [join_of(chord) for chord in self.chords.values()]


def join_of(chord: Chord) -> Step:
    """A chord's join: how many of its members have succeeded, and who holds it up."""
    stoppers = [by["job"] for by in chord.stopped.values() if "job" in by]
    states = dict(Job.objects.filter(pk__in=[*chord.leaves, *stoppers]).values_list("id", "state"))
    culprits = [found for found, state in states.items() if state in (State.FAILED, State.CANCELLED)]
    return Step(
        id=chord.pk,
        task="join",
        state=chord.state,
        kind="join",
        exists=True,
        done=sum(states.get(leaf) == State.SUCCEEDED for leaf in chord.leaves),
        size=len(chord.leaves),
        waits_for=[(found, states[found]) for found in culprits[:MOST_CULPRITS]] if chord.state in OPEN_CHORDS else [],
    )


class _Graph:
    """Steps and what leads to them, from rows and from the signatures of what is to come."""

    def __init__(self, family: _Family) -> None:
        self.steps: dict[str, Step] = {}
        self.after: dict[str, dict[str, None]] = {}
        self._seen_joins: set[str] = set()
        self._joins = {next(ids_in(chord.body), chord.pk): chord.pk for chord in family.chords.values()}
        self._family = family
        for row in family.rows.values():
            state = "cancelling" if row["state"] == State.RUNNING and row["cancel_requested_at"] else row["state"]
            self.steps[row["id"]] = Step(row["id"], row["task"], state, exists=True)
        for row in family.rows.values():
            self._add_what_follows(row)
        # Last, and never in a circle: a job that was replaced is both the sender and the end of what replaces it.
        for row in family.rows.values():
            parent = row["parent_id"]
            if parent in self.steps and not self.after.get(row["id"]):
                self._link(parent, row["id"])

    def _add_what_follows(self, row: dict[str, Any]) -> None:
        embed, exits = row["embed"], [row["id"]]
        for step in chain_of(embed):
            exits = self._add(step, exits)
        for callback in embed.get("callbacks") or []:
            self._add(callback, [row["id"]])
        if embed.get("chord") and row["group_id"]:
            self._add_join(row["group_id"], embed["chord"], [row["id"]])

    def _add_join(self, group_id: str, body: Any, after: list[str]) -> None:
        if group_id not in self.steps:
            chord = self._family.chords.get(group_id)
            self.steps[group_id] = join_of(chord) if chord else Step(group_id, "join", TO_COME, kind="join")
        for before in after:
            self._link(before, group_id)
        if group_id not in self._seen_joins:
            self._seen_joins.add(group_id)
            exits = self._add(body, [group_id])
            for step in chain_of(body.get("options") or {}):
                exits = self._add(step, exits)

    def _add(self, signature: Any, after: list[str]) -> list[str]:
        """Add a signature's steps after others. Returns the ids of the last ones."""
        kind = signature.get("subtask_type") if isinstance(signature, dict) else None
        if kind == "chain":
            for part in parts_of(signature):
                after = self._add(part, after)
            return after
        if kind == "group":
            return flat([self._add(part, after) for part in parts_of(signature)]) or after
        if kind == "chord":
            *header, body = parts_of(signature)
            # Celery gives a chord's group its id when it is sent; its body has one before.
            body_id = next(ids_in(body), f"after {' '.join(after)}")
            header_id = self._joins.get(body_id, f"join before {body_id}")
            exits = flat([self._add(part, after) for part in header]) or after
            if body is None:
                return exits
            self._add_join(header_id, {**body, "options": {**(body.get("options") or {}), "chain": None}}, exits)
            return list(ids_in(body))[-1:] or [header_id]
        found = id_of(signature) or f"{signature.get('task')} after {' '.join(after)}"
        self.steps.setdefault(found, Step(found, str(signature.get("task")), TO_COME))
        for before in after:
            self._link(before, found)
        self._add_callbacks(signature, found)
        return [found]

    def _add_callbacks(self, signature: Any, found: str) -> None:
        if self.steps[found].exists:
            return  # its row tells
        links = (signature.get("options") or {}).get("link") or []
        for callback in links if isinstance(links, list) else [links]:
            self._add(callback, [found])

    def _link(self, before: str, step: str) -> None:
        if before != step and before in self.steps and not self._leads(step, before):
            self.after.setdefault(step, {})[before] = None

    def _leads(self, start: str, end: str) -> bool:
        waiting, seen = [end], set()
        while waiting:
            found = waiting.pop()
            if found == start:
                return True
            if found not in seen:
                seen.add(found)
                waiting.extend(self.after.get(found, ()))
        return False

    def sorted(self) -> list[Step]:
        return list(self._in_order())

    def _in_order(self) -> Iterator[Step]:
        done: set[str] = set()
        waiting = list(self.steps)
        while waiting:
            ready = [found for found in waiting if all(before in done for before in self.after.get(found, ()))]
            for found in ready:
                step = self.steps[found]
                step.after = list(self.after.get(found, ()))
                yield step
            done.update(ready)
            waiting = [found for found in waiting if found not in done]
