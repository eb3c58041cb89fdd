"""How values look in lists and pages. Everything from outside passes through format_html."""

import json
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.models import Job, State

LONGEST_CELL = 80
LONGEST_BLOCK = 20_000
DASH = "–"


def duration_text(length: timedelta | None) -> str:
    """For people: 350 ms, 12 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
    if length is None:
        return DASH
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, size, smaller, small in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def ago(moment: datetime | None) -> SafeString | str:
    """How long ago, or in how long, with the exact time as a tooltip."""
    if moment is None:
        return DASH
    gap = timezone.now() - moment
    text = f"in {duration_text(-gap)}" if gap < timedelta(0) else f"{duration_text(gap)} ago"
    return time_element(moment, text)


def time_element(moment: datetime, text: str | None = None) -> SafeString:
    local = timezone.localtime(moment)
    exact = f"{local:%Y-%m-%d %H:%M:%S} {local:%Z}"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text or exact)


def exact(moment: datetime | None) -> SafeString | str:
    """The time in full, and how long ago."""
    return DASH if moment is None else format_html("{} ({})", time_element(moment), ago(moment))


def pill(text: str, kind: str) -> SafeString:
    """A coloured label; the text alone says it too. kind: a job's state, or good, bad, quiet."""
    return format_html('<span class="sy-pill sy-pill-{}">{}</span>', kind, text)


def state_pill(job: Job) -> SafeString:
    if job.state == State.RUNNING and job.cancel_requested_at:
        return pill("cancelling", "running")
    return pill(job.state, job.state)


def progress_bar(job: Job) -> SafeString | str:
    """The bar and note of a running job; empty for any other."""
    if job.state != State.RUNNING or job.progress is None:
        return ""
    percent = round(job.progress * 100)
    return format_html(
        '<progress class="sy-progress" max="100" value="{}" aria-label="progress">{} %</progress>'
        '<span class="sy-note">{} %{}</span>',
        percent,
        percent,
        percent,
        f" · {one_line(job.progress_note, 60)}" if job.progress_note else "",
    )


def run_duration(job: Job) -> timedelta | None:
    """Of the latest attempt: until now while it runs. None before the first, and while waiting for the next."""
    if job.started_at is None:
        return None
    if job.state == State.RUNNING:
        return timezone.now() - job.started_at
    if job.finished_at is None or job.finished_at < job.started_at:
        return None
    return job.finished_at - job.started_at


def one_line(text: str, longest: int = LONGEST_CELL) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def call_text(args: list[Any], kwargs: dict[str, Any], longest: int = LONGEST_CELL) -> str:
    """Arguments as they would be typed, shortened: 7, name="x"."""
    parts = [json.dumps(value, ensure_ascii=False, default=str) for value in args]
    parts += [f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in kwargs.items()]
    return one_line(", ".join(parts), longest) or DASH


def pretty_json(value: Any) -> str:
    return block(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str))


def block(text: str) -> str:
    """Cut a long text, saying so."""
    if len(text) <= LONGEST_BLOCK:
        return text
    return f"{text[:LONGEST_BLOCK]}\n… {len(text) - LONGEST_BLOCK:,} more characters are not shown"


def short_id(job_id: str) -> str:
    return job_id if len(job_id) <= 12 else f"{job_id[:8]}…"


def job_url(job_id: str) -> str:
    return reverse("admin:jobs_job_change", args=[quote(job_id)])


def job_link(job_id: str, text: str | None = None) -> SafeString:
    return format_html('<a class="sy-link" href="{}">{}</a>', job_url(job_id), text or short_id(job_id))


def bytes_text(count: int | None) -> str:
    return DASH if count is None else f"{count / 1_048_576:,.0f} MiB"


def attempts_text(job: Job) -> str:
    """ "2 of 4", with what took its process with it: "2 of 4, 1 crash"."""
    text = f"{job.attempts_used} of {job.max_attempts}"
    if job.crashes:
        text += f", {job.crashes} crash{'es' if job.crashes > 1 else ''}"
    return text
