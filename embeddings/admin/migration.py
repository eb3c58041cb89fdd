"""Changing a collection's model: the steps, how far they are, and both models' answers side by side."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from embeddings.models import Collection, ModelComparison, RunState
from embeddings.models.run import OPEN_RUNS
from embeddings.services import collections, comparison_samples, migration, migration_state
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.operators.actors import Actor

MAY_CHANGE = "embeddings.activate_index"
MOST_QUERIES = 1000
LONGEST_QUERY = 1000

#: Steps that are asked about first: what they do, and the word on the button.
CONFIRMED = {
    "switch": (
        "Searches use the new model and its index from now on. The old ones are kept up, so that going back is free "
        "until the migration is closed.",
        "Switch",
    ),
    "back": (
        "Searches use the previous model and its index again. The one that is left stays as the candidate.",
        "Go back",
    ),
    "close": (
        "The model that is not in use is forgotten. The clean-up removes its vectors and indexes; to use it again, all "
        "documents must be embedded anew.",
        "Close the migration",
    ),
}


def migration_url(name: str, step: str = "") -> str:
    """The page of a collection's migration, or of one of its steps."""
    if step:
        return reverse("admin:embeddings_modelcomparison_step", args=[name, step])
    return reverse("admin:embeddings_modelcomparison_migration", args=[name])


def _begin(actor: Actor, name: str, request: HttpRequest) -> str:
    from embeddings.encoders.registry import UnknownEncoder

    try:
        begun = migration.begin(actor, name, request.POST.get("encoder", "").strip())
    except UnknownEncoder as exc:
        raise StepRefused(str(exc)) from None
    return f"{begun.candidate_encoder} embeds the collection beside {migration_state.current_encoder(begun)} now."


def _compare(actor: Actor, name: str, request: HttpRequest) -> SafeString:
    lines = [line.strip() for line in request.POST.get("queries", "").splitlines() if line.strip()]
    if len(lines) > MOST_QUERIES or any(len(line) > LONGEST_QUERY for line in lines):
        raise StepRefused(f"up to {MOST_QUERIES:,} questions of up to {LONGEST_QUERY:,} characters, please")
    job_id = migration.ask(actor, name, lines or None)
    return format_html("The comparison has been sent: {}", show.job_link(job_id))


def _again(actor: Actor, name: str, request: HttpRequest) -> str:
    return f"{migration.embed_again(actor, name).candidate_encoder} is tried again."


def _switch(actor: Actor, name: str, request: HttpRequest) -> str:
    version = migration.switch(actor, name)
    return f"{version.model.spec} and version {version.number} are in use."


def _back(actor: Actor, name: str, request: HttpRequest) -> str:
    version = migration.go_back(actor, name)
    return f"{version.model.spec} and version {version.number} are in use again."


def _close(actor: Actor, name: str, request: HttpRequest) -> str:
    return f"The migration is closed; {migration.close(actor, name)} is forgotten."


STEPS: dict[str, Callable[[Actor, str, HttpRequest], "str | SafeString"]] = {
    "begin": _begin,
    "compare": _compare,
    "again": _again,
    "switch": _switch,
    "back": _back,
    "close": _close,
}


class StepRefused(Exception):
    """What was typed in does not do; the message says why."""


@admin.register(ModelComparison)
class ModelComparisonAdmin(ReadOnlyAdmin):
    sidebar_icon = "compare_arrows"
    list_display = ("collection_cell", "models_cell", "overlap_cell", "times_cell", "at_cell")
    list_display_links = None
    list_select_related = ("collection", "current", "candidate")
    ordering = ("-id",)

    @display(description="Collection")
    def collection_cell(self, comparison: ModelComparison) -> SafeString:
        name = comparison.collection.name
        return format_html('<a class="sy-link" href="{}">{}</a>', migration_url(name), name)

    @display(description="Models")
    def models_cell(self, comparison: ModelComparison) -> SafeString:
        return format_html("{} and {}", comparison.current.spec, comparison.candidate.spec)

    @display(description="Shared of the top ten")
    def overlap_cell(self, comparison: ModelComparison) -> str:
        return f"{comparison.overlap:.0%}, over {comparison.queries:,} queries"

    @display(description="Time of a query")
    def times_cell(self, comparison: ModelComparison) -> str:
        return _times(comparison)

    @display(description="When")
    def at_cell(self, comparison: ModelComparison) -> SafeString | str:
        return show.ago(comparison.at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelComparison]:
        found = super().get_queryset(request)
        return found.filter(collection__in=collections.visible_to(request.user))

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("of/<str:name>/", self.migration_view, "migration"),
            self.own_path("of/<str:name>/<str:step>/", self.step_view, "step"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A comparison is shown on its collection's page."""
        self.require_view(request)
        found = self.object_or_none(request, object_id)
        if found is None:
            return self.to_list(request, f"There is no comparison {object_id[:60]!r}.")
        return HttpResponseRedirect(migration_url(found.collection.name))

    @permission_required("embeddings.view_collection")
    def migration_view(self, request: HttpRequest, name: str) -> HttpResponse:
        collection = self._find(request, name)
        if collection is None:
            return self._unknown(request, name)
        found = migration_state.status(collection)
        return self.page(
            request,
            "embeddings/migration.html",
            title=f"The model of {name}",
            name=name,
            found=found,
            steps=_progress(request, found),
            comparison=_comparison(found, request.user),
            facts=_facts(collection, found),
            encoders=_known_encoders(),
            may_change=request.user.has_perm(MAY_CHANGE),
            urls={step: migration_url(name, step) for step in STEPS},
        )

    @permission_required(MAY_CHANGE)
    def step_view(self, request: HttpRequest, name: str, step: str) -> HttpResponse:
        """Ask first where a step changes what people find; act when the answer comes back."""
        if self._find(request, name) is None or step not in STEPS:
            return self._unknown(request, name)
        may_view = request.user.has_perm("embeddings.view_collection")
        back = migration_url(name) if may_view else reverse("admin:index")
        if request.method != "POST":
            if step not in CONFIRMED:
                return HttpResponseRedirect(back)
            explanation, label = CONFIRMED[step]
            context = {"title": f"{label}: {name}?", "explanation": explanation, "label": label, "back": back}
            return self.page(request, "embeddings/migration_step.html", **context)
        try:
            messages.success(request, STEPS[step](actor_of(request), name, request))
        except (StepRefused, migration_state.MigrationRefused) as exc:
            text = str(exc)
            messages.error(request, f"{text[:1].upper()}{text[1:]}.")
        return HttpResponseRedirect(back)

    def _find(self, request: HttpRequest, name: str) -> Collection | None:
        try:
            return collections.find(name, request.user)
        except collections.UnknownCollection:
            return None

    def _unknown(self, request: HttpRequest, name: str) -> HttpResponse:
        messages.error(request, f"There is no collection {name[:60]!r}.")
        return HttpResponseRedirect(reverse("admin:index"))


def _known_encoders() -> list[str]:
    """To choose from; a name must be added to those that end in a colon."""
    from embeddings.encoders.registry import KINDS

    return [kind for kind in KINDS if kind != "static"]


def _facts(collection: Collection, found: migration_state.Status) -> list[tuple[str, Any]]:
    url = reverse("admin:embeddings_collection_change", args=[collection.pk])
    link = format_html('<a class="sy-link" href="{}">{}</a>', url, collection.name)
    facts: list[tuple[str, Any]] = [("Collection", link), ("Searches use", found.encoder)]
    if found.step == migration_state.CANDIDATE:
        facts.append(("Candidate", found.other_encoder))
    if found.step == migration_state.PREVIOUS:
        facts.append(("May go back to", found.other_encoder))
    return facts


def _progress(request: HttpRequest, found: migration_state.Status) -> list[tuple[str, SafeString, Any]]:
    """(step, pill, what there is to say of it)"""
    return [
        ("Embed", *_embedded(found)),
        ("Index", *_indexed(request, found)),
        ("Compare", *_compared(found)),
    ]


def _embedded(found: migration_state.Status) -> tuple[SafeString, Any]:
    run, coverage = found.run, found.coverage
    is_whole = coverage is not None and coverage.missing == 0
    if run is None:
        return (show.pill("done", "good"), "") if is_whole else (show.pill("waiting", "queued"), "for its job")
    if run.state in OPEN_RUNS:
        done = run.encoded + run.set_aside
        percent = round(100 * done / run.total) if run.total else 0
        bar = format_html(
            '<progress class="sy-progress" max="100" value="{0}" aria-label="embedded">{0} %</progress> {1} of {2}',
            percent,
            f"{done:,}",
            f"{run.total:,}",
        )
        return show.pill("running", "running"), bar
    if run.state in (RunState.FAILED, RunState.CANCELLED) and not is_whole:
        return show.pill(run.state, "bad"), show.one_line(run.error, 300)
    aside = f"; {run.set_aside:,} were set aside" if run.set_aside else ""
    if coverage is None:
        return show.pill("done", "good"), aside
    text = f"{coverage.chunks - coverage.missing:,} of {coverage.chunks:,} chunks{aside}"
    return show.pill("done", "good") if is_whole else show.pill("catching up", "running"), text


def _indexed(request: HttpRequest, found: migration_state.Status) -> tuple[SafeString, Any]:
    version = found.version
    if version is None:
        return show.pill("waiting", "queued"), "for an index that passes the gate"
    text = f"version {version.number}, {version.kind or version.engine}, {version.count:,} vectors"
    if version.recall_mean is not None:
        text += f", recall@10 {version.recall_mean:.3f}"
    if not request.user.has_perm("embeddings.view_indexversion"):
        return show.pill("done", "good"), text
    url = reverse("admin:embeddings_indexversion_change", args=[version.pk])
    return show.pill("done", "good"), format_html('<a class="sy-link" href="{}">{}</a>', url, text)


def _compared(found: migration_state.Status) -> tuple[SafeString, Any]:
    one = found.comparison
    if one is None:
        return show.pill("waiting", "queued"), "for an index of both"
    text = (
        f"{one.queries:,} queries share {one.overlap:.0%} of their top ten, the worst twentieth {one.overlap_p5:.0%}; "
    )
    return show.pill("done", "good"), format_html("{}{}, {}", text, _times(one), show.ago(one.at))


def _times(comparison: ModelComparison) -> str:
    return (
        f"{comparison.current_ms:.1f} ms by {comparison.current.spec}, "
        f"{comparison.candidate_ms:.1f} ms by {comparison.candidate.spec}"
    )


def _comparison(found: migration_state.Status, user: Any) -> dict[str, Any] | None:
    """The samples: each answer says whether the other model gave it too."""
    one = found.comparison
    if one is None:
        return None
    return {
        "current": one.current.spec,
        "candidate": one.candidate.spec,
        "samples": [
            {
                "query": sample["query"] or f"({comparison_samples.HIDDEN})",
                "left_out": sample["left_out"],
                "shared": f"{sample['overlap']:.0%}",
                "lists": [
                    _marked(sample["current"], sample["candidate"]),
                    _marked(sample["candidate"], sample["current"]),
                ],
            }
            for sample in comparison_samples.shown(one, user)
        ],
    }


def _marked(answers: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    theirs = {other["chunk"] for other in others}
    return [{**answer, "is_shared": answer["chunk"] in theirs} for answer in answers]
