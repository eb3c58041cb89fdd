"""What one run's page shows, and its cells in the list."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from embeddings.models import EmbeddingBatch, EmbeddingRun, RunState, SetAside
from embeddings.models.run import OPEN_RUNS
from embeddings.services import run_lists
from embeddings.services.run_figures import RunFigures, figures_of
from jobs.admin import show

if TYPE_CHECKING:
    from jobs.admin.base import BaseAdmin

MOST_SET_ASIDE = 50
PILLS = {
    RunState.PLANNING: "queued",
    RunState.RUNNING: "running",
    RunState.DONE: "good",
    RunState.FAILED: "bad",
    RunState.CANCELLED: "quiet",
}


def run_pill(run: EmbeddingRun) -> SafeString:
    return show.pill(run.state, PILLS[RunState(run.state)])


def run_url(run: EmbeddingRun, page: str = "change") -> str:
    return reverse(f"admin:embeddings_embeddingrun_{page}", args=[run.pk])


def progress_cell(run: EmbeddingRun) -> SafeString | str:
    """A bar while it is under way, counts afterwards."""
    ended = run.encoded + run.set_aside
    if run.state != RunState.RUNNING:
        return _counts(run)
    percent = round(100 * ended / run.total) if run.total else 0
    return format_html(
        '<progress class="sy-progress" max="100" value="{0}" aria-label="progress">{0} %</progress>'
        '<span class="sy-note">{1} of {2}</span>',
        percent,
        f"{ended:,}",
        f"{run.total:,}",
    )


def _counts(run: EmbeddingRun) -> str:
    parts = [f"{run.encoded:,} embedded"]
    parts += [f"{run.set_aside:,} set aside"] if run.set_aside else []
    parts += [f"{run.unchanged:,} unchanged"] if run.unchanged else []
    return ", ".join(parts)


def speed_text(run: EmbeddingRun) -> tuple[str, str]:
    """Chunks a second, and how long it took or still takes."""
    if run.state in OPEN_RUNS:
        figures = figures_of([run]).get(run.pk)
        if figures is None or not figures.recent_rate:
            return show.DASH, show.DASH
        return f"{figures.recent_rate:,.0f}/s", _left(figures)
    if run.started_at is None or run.finished_at is None:
        return show.DASH, show.DASH
    rate = (run.encoded + run.set_aside) / max((run.finished_at - run.started_at).total_seconds(), 0.001)
    speed = f"{rate:,.0f}/s" if run.encoded else show.DASH
    return speed, show.duration_text(run.finished_at - run.created_at)


def _left(figures: RunFigures) -> str:
    if figures.eta_seconds is None:
        return show.DASH
    return f"{show.duration_text(timedelta(seconds=figures.eta_seconds))} left"


def status_of(run: EmbeddingRun) -> dict[str, Any]:
    """What the page's script asks for while the run is under way. attempt: whatever it changes by, loads it again."""
    figures = figures_of([run])[run.pk]
    note = f"{run.encoded + run.set_aside:,} of {run.total:,} chunks"
    if figures.recent_rate:
        note += f" · {figures.recent_rate:,.0f} a second"
    if figures.eta_seconds is not None:
        note += f" · {_left(figures)}"
    return {
        "state": run.state,
        "attempt": f"{run.set_aside}-{figures.batches['split']}",
        "progress": round(100 * figures.fraction),
        "note": note,
        "finished": run.state not in OPEN_RUNS,
    }


def show_run(model_admin: "BaseAdmin", request: HttpRequest, run: EmbeddingRun) -> HttpResponse:
    is_open = run.state in OPEN_RUNS
    may_start = request.user.has_perm(run_lists.MAY_START)
    aside: list[SetAside] = []
    if run.model_id is not None and request.user.has_perm("embeddings.view_setaside"):
        aside = list(run_lists.set_aside_of(run, request.user)[: MOST_SET_ASIDE + 1])
    return model_admin.page(
        request,
        "embeddings/run.html",
        title=f"Run {run.pk} of {run.collection.name}",
        run=run,
        pill=run_pill(run),
        status=status_of(run),
        status_url=run_url(run, "status"),
        facts=_facts(run, figures_of([run])[run.pk]),
        batches=[_batch(batch) for batch in run_lists.batches_of(run)],
        aside=[aside_row(one) for one in aside[:MOST_SET_ASIDE]],
        more_aside=len(aside) > MOST_SET_ASIDE,
        cancel_url=run_url(run, "cancel") if is_open and may_start else "",
        start_url=reverse("admin:embeddings_embeddingrun_start") if not is_open and may_start else "",
        retry_url=reverse("admin:embeddings_setaside_retry") if aside and may_start else "",
    )


def _facts(run: EmbeddingRun, figures: RunFigures) -> list[tuple[str, Any]]:
    collection = reverse("admin:embeddings_collection_change", args=[run.collection_id])
    batches = ", ".join(f"{count:,} {name}" for name, count in figures.batches.items() if count)
    speed = f"{figures.rate:,.0f} chunks a second since it began" if figures.rate else ""
    facts: list[tuple[str, Any]] = [
        ("Collection", format_html('<a class="sy-link" href="{}">{}</a>', collection, run.collection.name)),
        ("Encoder", format_html('<span title="{}">{}</span>', run.encoder, run.short_encoder)),
        ("Kind", run.get_kind_display()),
        ("Waited for by", show.job_link(run.job_id) if run.job_id else "nobody: it follows new documents"),
        ("To embed", f"{run.total:,} chunks, {run.unchanged:,} unchanged"),
        ("Embedded", f"{run.encoded:,}"),
        ("Set aside", f"{run.set_aside:,}" if run.set_aside else ""),
        ("Remaining", f"{run.remaining:,}" if run.state in OPEN_RUNS else ""),
        ("Speed", speed),
        ("Tokens", f"{run.tokens:,}"),
        ("CPU time", f"{run.cpu_seconds:,.1f} s"),
        ("Price", f"${run.dollars:,.4f}" if run.dollars else ""),
        ("Batches", batches),
        ("Begun", show.exact(run.created_at)),
        ("Planned", show.exact(run.started_at) if run.started_at else ""),
        ("Ended", show.exact(run.finished_at) if run.finished_at else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _batch(batch: EmbeddingBatch) -> dict[str, Any]:
    kinds = {"sent": "running", "split": "scheduled", "set_aside": "bad"}
    return {
        "pill": show.pill(batch.state.replace("_", " "), kinds.get(batch.state, "quiet")),
        "batch": batch,
        "job": show.job_link(batch.job_id) if batch.job_id else show.DASH,
        "error": show.one_line(batch.error, 300),
    }


def aside_row(one: Any) -> dict[str, Any]:
    """one: a SetAside with its document."""
    document: SafeString | str = "no document that you may see"
    if one.document_key is not None:
        url = reverse("admin:embeddings_document_change", args=[one.document_key])
        document = format_html('<a class="sy-link" href="{}">{}</a>', url, show.one_line(one.document, 60))
    return {"row": one, "document": document, "reason": show.one_line(one.reason, 500), "at": show.ago(one.created_at)}
