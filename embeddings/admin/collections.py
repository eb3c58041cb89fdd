"""Collections: what is in them, how they are set, and where their runs, versions and documents are."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from embeddings.admin.migration import migration_url
from embeddings.models import Collection, Engine
from embeddings.services import collection_figures, collections
from embeddings.services.collection_figures import Figures
from embeddings.services.collection_settings import RANGES, SETTINGS, CollectionRefused
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required

#: Pages about a collection's parts: text, the page's name, the permission.
PARTS = (
    ("Documents", "embeddings_document_changelist", "embeddings.view_document"),
    ("Runs", "embeddings_embeddingrun_changelist", "embeddings.view_embeddingrun"),
    ("Index versions", "embeddings_indexversion_changelist", "embeddings.view_indexversion"),
)
WIDTH, HEIGHT = 240, 40


def collection_url(collection: Collection, page: str = "change") -> str:
    return reverse(f"admin:embeddings_collection_{page}", args=[collection.pk])


def _number(label: str, name: str, help_text: str) -> forms.IntegerField:
    least, most = RANGES[name]
    return forms.IntegerField(
        label=label, min_value=least, max_value=most, widget=UnfoldAdminIntegerFieldWidget, help_text=help_text
    )


def _share(label: str, help_text: str) -> forms.FloatField:
    widget = UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01"})
    return forms.FloatField(label=label, min_value=0, max_value=1, widget=widget, help_text=help_text)


class CollectionForm(forms.Form):
    name = forms.CharField(
        label="Name",
        max_length=63,
        widget=UnfoldAdminTextInputWidget,
        help_text="Small letters, digits, dots, dashes and underscores. It stays.",
    )
    description = forms.CharField(
        label="Description", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2})
    )
    encoder = forms.CharField(
        label="Encoder",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="What embeds it, such as minilm, ngram or openai:NAME; empty: the site's default.",
    )
    fast_encoder = forms.CharField(
        label="Fast encoder",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="What embeds new documents at once, until the encoder catches up; empty: nothing.",
    )
    engine = forms.ChoiceField(label="Engine", choices=Engine.choices, widget=UnfoldAdminSelectWidget)
    language = forms.CharField(
        label="Language",
        max_length=32,
        widget=UnfoldAdminTextInputWidget,
        help_text="Postgres' text search configuration: simple, english, german, … A change writes all words anew.",
    )
    chunk_tokens = _number(
        "Longest chunk, in tokens", "chunk_tokens", "A change cuts all documents anew, and embeds what is new of that."
    )
    chunk_overlap = _number("Overlap, in tokens", "chunk_overlap", "What neighbouring chunks share; less than half.")
    recall_target = _share("Recall target", "Least mean recall@10 of a new index, or the old one stays.")
    recall_floor = _share("Recall floor", "Least recall@10 of its worst twentieth of queries.")
    keep_versions = _number("Index versions kept", "keep_versions", "For going back; the active one counts.")
    groups = forms.ModelMultipleChoiceField(
        label="Groups",
        required=False,
        queryset=Group.objects.order_by("name"),
        widget=UnfoldAdminSelectMultipleWidget,
        help_text="Who may see it; none chosen: all who may search.",
    )

    def __init__(self, collection: Collection, data: Any) -> None:
        values: dict[str, Any] = {name: getattr(collection, name) for name in SETTINGS if name != "groups"}
        values["groups"] = [] if collection._state.adding else list(collection.groups.all())
        super().__init__(data, initial=values)
        if not collection._state.adding:
            del self.fields["name"]

    def settings(self) -> dict[str, Any]:
        """What the service takes."""
        given = {name: self.cleaned_data[name] for name in SETTINGS}
        return {**given, "groups": [group.pk for group in given["groups"]]}


@admin.register(Collection)
class CollectionAdmin(ReadOnlyAdmin):
    sidebar_icon = "library_books"
    list_display = ("name_cell", "documents_cell", "pending_cell", "aside_cell", "model_cell", "version_cell")
    list_display_links = None
    list_filter_submit = False
    search_fields = ("name",)
    search_help_text = "Beginning of a name"
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Collection]:
        found = collections.visible_to(request.user).select_related("model", "active_version")
        return found.annotate(**collection_figures.newest_columns()).order_by("name")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Collection], search_term: str
    ) -> tuple[QuerySet[Collection], bool]:
        term = search_term.strip().replace("\x00", "")
        return (queryset.filter(name__startswith=term) if term else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("embeddings.add_collection")

    # --- cells: as measured last ---

    @display(description="Collection")
    def name_cell(self, collection: Collection) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong>{}</strong><span class="sy-note">{}</span></a>',
            collection_url(collection),
            collection.name,
            show.one_line(collection.description, 80),
        )

    @display(description="Documents")
    def documents_cell(self, collection: Any) -> str:
        return _count(collection.newest_documents)

    @display(description="Pending")
    def pending_cell(self, collection: Any) -> str:
        return _count(collection.newest_pending)

    @display(description="Set aside")
    def aside_cell(self, collection: Any) -> SafeString | str:
        count = collection.newest_set_aside
        return show.pill(f"{count:,}", "bad") if count else _count(count)

    @display(description="Model")
    def model_cell(self, collection: Collection) -> str:
        return collection.model.spec if collection.model else show.DASH

    @display(description="Index")
    def version_cell(self, collection: Collection) -> str:
        return f"version {collection.active_version.number}" if collection.active_version else "none yet"

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:collection_id>/edit/", self.edit_view, "edit"),
            self.own_path("<int:collection_id>/remove/", self.remove_view, "remove"),
        ]
        return [*own, *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """A collection's page."""
        self.require_view(request)
        collection = self._find(request, object_id)
        if collection is None:
            return self.to_list(request, f"There is no collection {object_id[:40]!r}.")
        user = request.user
        return self.page(
            request,
            "embeddings/collection.html",
            title=collection.name,
            collection=collection,
            facts=_facts(collection),
            figures=_figures(collection),
            lines=_lines(collection),
            parts=_parts(request, collection),
            edit_url=self.url_of("edit", collection.pk) if user.has_perm("embeddings.change_collection") else "",
            remove_url=self.url_of("remove", collection.pk) if user.has_perm("embeddings.delete_collection") else "",
        )

    @permission_required("embeddings.add_collection")
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return self._form(request, Collection(), "New collection", self.url_of("changelist"))

    @permission_required("embeddings.change_collection")
    def edit_view(self, request: HttpRequest, collection_id: int) -> HttpResponse:
        collection = self._find(request, collection_id)
        if collection is None:
            return self.to_list(request, f"There is no collection {collection_id}.")
        return self._form(request, collection, f"Settings of {collection.name}", collection_url(collection))

    def _form(self, request: HttpRequest, collection: Collection, title: str, back: str) -> HttpResponse:
        form = CollectionForm(collection, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                saved = self._save(request, collection, form)
            except CollectionRefused as exc:
                for name, text in exc.errors.items():
                    form.add_error(name if name in form.fields else None, text)
            except collections.CollectionExists as exc:
                form.add_error("name", str(exc))
            else:
                may_view = self.has_view_permission(request)
                return HttpResponseRedirect(collection_url(saved) if may_view else reverse("admin:index"))
        return self.page(request, "embeddings/collection_form.html", title=title, form=form, back=back)

    def _save(self, request: HttpRequest, collection: Collection, form: CollectionForm) -> Collection:
        if collection._state.adding:
            made = collections.create(actor_of(request), form.cleaned_data["name"], form.settings())
            messages.success(request, f"{made.name} is made.")
            return made
        changed = collections.change(actor_of(request), collection, form.settings())
        if changed.recut_job:
            messages.success(
                request,
                format_html("Saved. Its documents are cut anew by job {}.", show.job_link(changed.recut_job)),
            )
        else:
            messages.success(request, "Saved." if changed.fields else "Nothing was changed.")
        return changed.collection

    @permission_required("embeddings.delete_collection")
    def remove_view(self, request: HttpRequest, collection_id: int) -> HttpResponse:
        """Ask first; delete when the answer comes back."""
        collection = self._find(request, collection_id)
        if collection is None:
            return self.to_list(request, f"There is no collection {collection_id}.")
        if request.method != "POST":
            return self.page(
                request,
                "embeddings/collection_remove.html",
                title="Delete this collection?",
                collection=collection,
                has_documents=collection.documents.exists(),
                back=collection_url(collection),
            )
        try:
            job = collections.delete(actor_of(request), collection, force=request.POST.get("force") == "yes")
        except (CollectionRefused, collections.CollectionNotEmpty) as exc:
            messages.error(request, f"{exc}.")
            return HttpResponseRedirect(collection_url(collection))
        done = format_html("is being deleted by job {}", show.job_link(job)) if job else "is deleted"
        messages.success(request, format_html("{} {}.", collection.name, done))
        return self.to_list(request)

    def _find(self, request: HttpRequest, collection_id: int | str) -> Collection | None:
        if not (str(collection_id).isascii() and str(collection_id).isdigit() and int(str(collection_id)[:25]) < 2**63):
            return None
        found = collections.visible_to(request.user).select_related("model", "fast_model", "active_version")
        return found.filter(pk=collection_id).first()


def _count(number: int | None) -> str:
    return show.DASH if number is None else f"{number:,}"


def _facts(collection: Collection) -> list[tuple[str, Any]]:
    version = collection.active_version
    facts: list[tuple[str, Any]] = [
        ("Description", collection.description),
        ("Encoder", collection.encoder or "the site's default"),
        ("Model", str(collection.model) if collection.model else "none yet"),
        ("Fast encoder", collection.fast_encoder or "none"),
        ("Candidate", collection.candidate_encoder),
        ("Before the last switch", collection.previous_encoder),
        ("Engine", collection.engine),
        ("Index", f"version {version.number}, {version.kind}, {version.count:,} vectors" if version else "none yet"),
        ("Language", collection.language),
        ("Chunks", f"up to {collection.chunk_tokens} tokens, {collection.chunk_overlap} shared"),
        ("Recall", f"at least {collection.recall_target:g}, the worst twentieth {collection.recall_floor:g}"),
        ("Versions kept", str(collection.keep_versions)),
        ("Seen by", ", ".join(group.name for group in collection.groups.all()) or "all who may search"),
        ("Made", show.exact(collection.created_at)),
    ]
    return [(name, value) for name, value in facts if value]


def _figures(collection: Collection) -> dict[str, Any] | None:
    """Numbers for the tiles, and when they were measured."""
    found: Figures | None = collection_figures.figures(collection)
    if found is None:
        return None
    documents = _part_url("embeddings_document_changelist", collection)
    return {
        "tiles": [
            ("", f"{found.documents:,}", "documents", documents),
            ("", f"{found.chunks:,}", "chunks", documents),
            ("running" if found.pending else "", f"{found.pending:,}", "chunks pending", f"{documents}&state=pending"),
            ("failed" if found.set_aside else "", f"{found.set_aside:,}", "set aside", f"{documents}&state=set_aside"),
        ],
        "at": show.ago(found.at) if found.at else "",
    }


def _lines(collection: Collection) -> list[dict[str, str]]:
    """Documents, and what was pending, over the last day: points of a line each, in a box of WIDTH by HEIGHT."""
    rows = collection_figures.history(collection)
    if len(rows) < 2:
        return []
    series = {
        "Documents": [row.documents for row in rows],
        "Pending": [max(0, row.chunks - row.embedded - row.set_aside) for row in rows],
    }
    return [
        {"name": name, "points": _points(values), "now": f"{values[-1]:,}", "most": f"{max(values):,}"}
        for name, values in series.items()
    ]


def _points(values: list[int]) -> str:
    most = max(*values, 1)
    step = WIDTH / (len(values) - 1)
    return " ".join(f"{index * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * v / most:.1f}" for index, v in enumerate(values))


def _parts(request: HttpRequest, collection: Collection) -> list[tuple[str, str]]:
    """Pages about it that there are and that the user may see."""
    found = []
    for text, page, permission in PARTS:
        if request.user.has_perm(permission):
            try:
                found.append((text, _part_url(page, collection)))
            except NoReverseMatch:
                continue
    return [*found, ("Change the model", migration_url(collection.name))]


def _part_url(page: str, collection: Collection) -> str:
    return f"{reverse(f'admin:{page}')}?{urlencode({'collection': collection.name})}"
