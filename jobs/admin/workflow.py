"""Draws a job's workflow on its page: steps from left to right, lines between them, each a link."""

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
    places = _places(steps)
    width = max(x + w for x, _, w in places.values()) + MARGIN
    height = max(y for _, y, _ in places.values()) + HEIGHT + MARGIN
    lines = format_html_join("", '<path d="{}"/>', [[_line(places[a], places[s.id])] for s in steps for a in s.after])
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


def _places(steps: list[Step]) -> dict[str, tuple[int, int, int]]:
    """Where each step is drawn: left, top, width. Columns follow the longest way, rows those before them."""
    columns: list[list[Step]] = []
    column_of: dict[str, int] = {}
    for step in steps:
        column = max((column_of[before] + 1 for before in step.after), default=0)
        column_of[step.id] = column
        while len(columns) <= column:
            columns.append([])
        columns[column].append(step)
    places: dict[str, tuple[int, int, int]] = {}
    tallest = max(len(column) for column in columns)
    left = MARGIN
    for column in columns:
        wide = WIDTH if any(step.kind == "job" for step in column) else JOIN_WIDTH
        ordered = sorted(column, key=lambda step: _mean_top(step, places))
        top = MARGIN + (tallest - len(column)) * (HEIGHT + GAP_Y) // 2
        for row, step in enumerate(ordered):
            own = WIDTH if step.kind == "job" else JOIN_WIDTH
            places[step.id] = (left + (wide - own) // 2, top + row * (HEIGHT + GAP_Y), own)
        left += wide + GAP_X
    return places


def _mean_top(step: Step, places: dict[str, tuple[int, int, int]]) -> float:
    tops = [places[before][1] for before in step.after if before in places]
    return sum(tops) / len(tops) if tops else 0.0


def _line(start: tuple[int, int, int], end: tuple[int, int, int]) -> str:
    x1, y1 = start[0] + start[2], start[1] + HEIGHT // 2
    x2, y2 = end[0], end[1] + HEIGHT // 2
    bend = max((x2 - x1) // 2, 12)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _box(step: Step, place: tuple[int, int, int], is_current: bool) -> SafeString:
    x, y, width = place
    name, below = _words(step)
    box = format_html(
        '<g class="sy-step sy-step-{}{}" transform="translate({} {})"><title>{}</title>'
        '<rect width="{}" height="{}" rx="{}"/><text x="10" y="19">{}</text>'
        '<text class="sy-step-state" x="10" y="36">{}</text></g>',
        step.state.replace(" ", "-"),
        " sy-step-current" if is_current else "",
        x,
        y,
        f"{step.task} {step.id}: {step.state}",
        width,
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
