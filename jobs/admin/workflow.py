"""Draws a job's workflow on its page: steps from left to right, lines between them, each a link."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.admin import show
from jobs.models import ChordState, Job
from jobs.operators.workflow import Step, workflow_of

WIDTH, HEIGHT, JOIN_WIDTH = 190, 46, 108
GAP_X, GAP_Y, MARGIN = 44, 14, 6
LONGEST_NAME = 25

_JOIN_TEXT = {
    ChordState.WAITING: "waits for members that are to come",
    ChordState.RESTING: "rests until its failed members are retried or discarded",
    ChordState.JOINED: "has joined",
    ChordState.DROPPED: "was given up: every member was discarded",
    ChordState.BROKEN: "could not send its body",
}


def workflow_part(job: Job) -> dict[str, Any] | None:
    """What the page's workflow part shows, or None for a job that stands alone."""
    found = workflow_of(job)
    jobs = [step for step in found.steps if step.kind == "job"]
    is_drawn = len(jobs) > 1
    if not is_drawn and not any(len(states) > 1 or sum(states.values()) > 1 for states in found.counts.values()):
        return None
    return {
        "drawing": _drawing(found.steps, job.pk) if is_drawn else "",
        "counts": [(task, sorted(states.items())) for task, states in found.counts.items()],
        "more": not found.is_counted_in_full,
        "total": sum(sum(states.values()) for states in found.counts.values()),
        "to_come": sum(step.state == "to come" for step in jobs),
        "joins": [_join_line(join) for join in found.joins if join.waits_for or join.state == ChordState.BROKEN],
    }


def _join_line(join: Step) -> dict[str, Any]:
    return {
        "text": f"A chord of {join.size} {_JOIN_TEXT[ChordState(join.state)]} ({join.done} succeeded).",
        "culprits": [(show.job_link(found), show.pill(state, state)) for found, state in join.waits_for],
    }


def _drawing(steps: list[Step], current: str) -> SafeString:
    columns, before, ways = _columns(steps)
    places = _places(columns, before, {step.id: step.kind for step in steps})
    width = max(place.left + place.width for place in places.values()) + MARGIN
    height = max(place.top for place in places.values()) + HEIGHT + MARGIN
    lines = format_html_join("", '<path d="{}"/>', [[_path([places[stop] for stop in way])] for way in ways])
    boxes = format_html_join("", "{}", [[_box(step, places[step.id], step.id == current)] for step in steps])
    return format_html(
        '<svg class="sy-flow" width="{}" height="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">'
        '<g class="sy-flow-lines" aria-hidden="true">{}</g>{}</svg>',
        width,
        height,
        width,
        height,
        f"Workflow of {len(steps)} steps",
        lines,
        boxes,
    )


@dataclass
class _Place:
    """Where a step is drawn, or where a line that skips columns passes through."""

    left: int
    top: int
    width: int


def _columns(steps: list[Step]) -> tuple[list[list[str]], dict[str, list[str]], list[list[str]]]:
    """Columns by the longest way to each step, with stops for lines that skip some; what leads where; the lines."""
    column_of: dict[str, int] = {}
    before: dict[str, list[str]] = {}
    lines: list[list[str]] = []
    for step in steps:
        column_of[step.id] = max((column_of[found] + 1 for found in step.after), default=0)
        before[step.id] = []
        for found in step.after:
            between = range(column_of[found] + 1, column_of[step.id])
            line = [found, *(f"{found} {step.id} {column}" for column in between), step.id]
            for (start, end), column in zip(pairwise(line[:-1]), between, strict=True):
                before[end], column_of[end] = [start], column
            before[step.id].append(line[-2])
            lines.append(line)
    columns: list[list[str]] = [[] for _ in range(max(column_of.values()) + 1)]
    for found, column in column_of.items():
        columns[column].append(found)
    return columns, before, lines


def _places(columns: list[list[str]], before: dict[str, list[str]], kinds: dict[str, str]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    tallest = max(len(column) for column in columns)
    left = MARGIN
    for column in columns:
        wide = WIDTH if any(kinds.get(found) == "job" for found in column) else JOIN_WIDTH
        ordered = sorted(column, key=lambda found: _mean_top(before[found], places))
        top = MARGIN + (tallest - len(column)) * (HEIGHT + GAP_Y) // 2
        for row, found in enumerate(ordered):
            own = JOIN_WIDTH if kinds.get(found) == "join" else wide
            places[found] = _Place(left + (wide - own) // 2, top + row * (HEIGHT + GAP_Y), own)
        left += wide + GAP_X
    return places


def _mean_top(before: list[str], places: dict[str, _Place]) -> float:
    tops = [places[found].top for found in before]
    return sum(tops) / len(tops) if tops else 0.0


def _path(stops: list[_Place]) -> str:
    """A curve from the right side of the first, straight through those between, to the left side of the last."""
    parts: list[str] = []
    for start, end in pairwise(stops):
        x1, y1 = start.left + start.width, start.top + HEIGHT // 2
        x2, y2 = end.left, end.top + HEIGHT // 2
        bend = max((x2 - x1) // 2, 12)
        move = "L" if parts else "M"
        parts.append(f"{move}{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}")
    return "".join(parts)


def _box(step: Step, place: _Place, is_current: bool) -> SafeString:
    name, below = _words(step)
    box = format_html(
        '<g class="sy-step sy-step-{}{}" transform="translate({} {})"><title>{}</title>'
        '<rect width="{}" height="{}" rx="{}"/><text x="10" y="19">{}</text>'
        '<text class="sy-step-state" x="10" y="36">{}</text></g>',
        step.state.replace(" ", "-"),
        " sy-step-current" if is_current else "",
        place.left,
        place.top,
        f"{step.task} {step.id}: {step.state}",
        place.width,
        HEIGHT,
        6 if step.kind == "job" else HEIGHT // 2,
        name,
        below,
    )
    if step.kind != "job" or not step.exists:
        return box
    return format_html('<a href="{}">{}</a>', show.job_url(step.id), box)


def _words(step: Step) -> tuple[str, str]:
    if step.kind == "join":
        return f"join {step.done}/{step.size}" if step.exists else "join", step.state
    name = step.task if len(step.task) <= LONGEST_NAME else f"…{step.task[1 - LONGEST_NAME :]}"
    return name, f"{step.state} · {step.id[:8]}" if step.exists else step.state
