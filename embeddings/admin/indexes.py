"""Index versions: what each holds and how good it is, which one is in use, and going back to another."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from embeddings import errors
from embeddings.models import IndexVersion, VersionState
from embeddings.services import collections, versions
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.admin.filters import FixedFilter
from jobs.operators.actors import Actor

PILLS = {
    VersionState.BUILDING: "running",
    VersionState.READY: "quiet",
    VersionState.REFUSED: "bad",
    VersionState.FAILED: "bad",
    VersionState.REMOVED: "quiet",
}
MOST_COLLECTIONS = 100
#: What services raise when a version cannot be put in use or is not whole.
NOT_DONE = (
    *(errors.VersionNotActivated, errors.VersionWithoutFiles, errors.IndexDamaged),
    *(errors.EngineUnavailable, errors.StoreUnavailable),
)


def version_pill(version: IndexVersion) -> SafeString:
    if versions.is_active(version):
        return show.pill("in use, damaged", "bad") if versions.damage(version) else show.pill("in use", "good")
    return show.pill(version.state, PILLS[VersionState(version.state)])


def version_url(version: IndexVersion, page: str = "change") -> str:
    return reverse(f"admin:embeddings_indexversion_{page}", args=[version.pk])


def recall_text(version: IndexVersion) -> str:
    return show.DASH if version.recall_mean is None else f"{version.recall_mean:.3f}"


class VersionStateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"
    values = VersionState.values


class CollectionFilter(FixedFilter):
    title = "collection"
    parameter_name = "collection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = collections.visible_to(request.user).order_by("name").values_list("name", flat=True)[:MOST_COLLECTIONS]
        return [(name, name) for name in names]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(collection__name=value)


@admin.register(IndexVersion)
class IndexVersionAdmin(ReadOnlyAdmin):
    sidebar_icon = "layers"
    list_display = ("state_cell", "version_cell", "kind_cell", "count_cell", "recall_cell", "size_cell", "created_cell")
    list_display_links = None
    list_filter = (VersionStateFilter, CollectionFilter)
    ordering = ("-created_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[IndexVersion]:
        return versions.versions(request.user).defer("manifest").order_by(*self.ordering)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> IndexVersion | None:
        try:
            return versions.find_version(int(object_id), request.user)
        except (ValueError, IndexVersion.DoesNotExist):
            return None

    # --- cells ---

    @display(description="State")
    def state_cell(self, version: IndexVersion) -> SafeString:
        return version_pill(version)

    @display(description="Version")
    def version_cell(self, version: IndexVersion) -> SafeString:
        wrong = versions.damage(version) or version.reason
        reason = format_html('<span class="sy-error" title="{0}">{0}</span>', show.one_line(wrong, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong>{} · {}</strong><span class="sy-note">'
            "id {}, {}</span></a>{}</div>",
            version_url(version),
            version.collection.name,
            version.number,
            version.pk,
            version.model.spec,
            reason if wrong else "",
        )

    @display(description="Kind")
    def kind_cell(self, version: IndexVersion) -> str:
        return version.kind or show.DASH

    @display(description="Vectors")
    def count_cell(self, version: IndexVersion) -> str:
        return f"{version.count:,}" if version.kind else show.DASH

    @display(description="Recall@10")
    def recall_cell(self, version: IndexVersion) -> str:
        return recall_text(version)

    @display(description="Size")
    def size_cell(self, version: IndexVersion) -> str:
        return filesizeformat(version.bytes) if version.bytes else show.DASH

    @display(description="Begun")
    def created_cell(self, version: IndexVersion) -> SafeString | str:
        return show.ago(version.created_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("<path:object_id>/activate/", self.activate_view, "activate"),
            self.own_path("<path:object_id>/verify/", self.verify_view, "verify"),
            self.own_path("<path:object_id>/rebuild/", self.rebuild_view, "rebuild"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        version = self.object_or_none(request, object_id)
        if version is None:
            return self._unknown(request, object_id)
        is_ready = version.state == VersionState.READY
        may_activate = is_ready and not versions.is_active(version)
        return self.page(
            request,
            "embeddings/index_version.html",
            title=f"{version.collection.name}, version {version.number}",
            version=version,
            pill=version_pill(version),
            damage=versions.damage(version),
            facts=_facts(version),
            tried=version.manifest.get("tried", []),
            files=_files(version),
            activations=[(show.exact(one.at), one) for one in versions.activations(version)],
            manifest=show.pretty_json(version.manifest),
            may_activate=may_activate and request.user.has_perm("embeddings.activate_index"),
            may_verify=is_ready,
            may_rebuild=request.user.has_perm("embeddings.build_index"),
        )

    @permission_required("embeddings.activate_index")
    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first; act when the answer comes back."""
        version = self.object_or_none(request, object_id)
        if version is None:
            return self._unknown(request, object_id)
        if request.method != "POST":
            return self.page(
                request,
                "embeddings/index_activate.html",
                title=f"Put version {version.number} of {version.collection.name} in use?",
                version=version,
                facts=_facts(version)[:6],
                active=versions.active_of(version.collection, version.model),
                back=version_url(version),
            )
        return self._do(request, version, _activate)

    @permission_required("embeddings.view_indexversion")
    def verify_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = self.object_or_none(request, object_id)
        if version is None:
            return self._unknown(request, object_id)
        if request.method != "POST":
            return HttpResponseRedirect(version_url(version))
        return self._do(request, version, _verify)

    @permission_required("embeddings.build_index")
    def rebuild_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = self.object_or_none(request, object_id)
        if version is None:
            return self._unknown(request, object_id)
        if request.method != "POST":
            return HttpResponseRedirect(version_url(version))
        return self._do(request, version, _rebuild)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))

    def _do(self, request: HttpRequest, version: IndexVersion, what: Any) -> HttpResponse:
        try:
            messages.success(request, what(actor_of(request), version, request))
        except NOT_DONE as exc:
            messages.error(request, f"{exc}.")
        may_view = self.has_view_permission(request)
        return HttpResponseRedirect(version_url(version) if may_view else reverse("admin:index"))

    def _unknown(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.to_list(request, f"There is no index version {object_id[:60]!r}.")


def _activate(actor: Actor, version: IndexVersion, request: HttpRequest) -> str:
    from embeddings.services import pointer

    if pointer.activate(actor, version, request.POST.get("reason", "").strip()) is None:
        return f"Version {version.number} was in use already."
    return f"Version {version.number} is in use."


def _verify(actor: Actor, version: IndexVersion, request: HttpRequest) -> str:
    files = versions.verify(actor, version)["files"]
    if not files:
        return f"Version {version.number} has no files, and can be opened."
    return f"{', '.join(files)}: read whole, and found as built."


def _rebuild(actor: Actor, version: IndexVersion, request: HttpRequest) -> SafeString:
    from embeddings.services import rebuilding

    job_id = rebuilding.rebuild(actor, version.collection)
    return format_html("The rebuild has been sent: {}", show.job_link(job_id))


def _facts(version: IndexVersion) -> list[tuple[str, Any]]:
    recall = "" if version.recall_mean is None else f"{recall_text(version)}; worst twentieth {version.recall_p5:.3f}"
    seconds = "" if version.build_seconds is None else f"{version.build_seconds:.1f} s"
    searched = ", ".join(f"{name} {value}" for name, value in version.parameters.items())
    facts: list[tuple[str, Any]] = [
        ("Collection", version.collection.name),
        ("Id", str(version.pk)),
        ("Model", str(version.model)),
        ("Kind", f"{version.kind}{f', {searched}' if searched else ''}" if version.kind else ""),
        ("Vectors", f"{version.count:,}" if version.kind else ""),
        ("Recall@10", recall),
        ("Engine", version.get_engine_display()),
        ("Size", filesizeformat(version.bytes) if version.bytes else ""),
        ("Build", seconds),
        ("Begun", show.exact(version.created_at)),
        ("Ready", show.exact(version.built_at) if version.built_at else ""),
        ("Removed", show.exact(version.removed_at) if version.removed_at else ""),
        ("Job", show.job_link(version.job_id, version.job_id) if version.job_id else ""),
        ("Folder", format_html('<code class="sy-break">{}</code>', version.manifest.get("folder", ""))),
    ]
    return [(name, value) for name, value in facts if value]


def _files(version: IndexVersion) -> list[tuple[str, str, str]]:
    """(name, bytes, SHA-256)"""
    files = version.manifest.get("files", {})
    return [(name, f"{file['bytes']:,}", file["sha256"]) for name, file in files.items()]
