"""The encoders that have embedded something, with what was measured of each."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from embeddings.models import EmbeddingModel
from embeddings.services import encoder_builds
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required


@admin.register(EmbeddingModel)
class EmbeddingModelAdmin(ReadOnlyAdmin):
    sidebar_icon = "neurology"
    list_display = ("model_cell", "dimension_cell", "overlap_cell", "parameters_cell", "created_cell")
    list_display_links = None
    ordering = ("-created_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[EmbeddingModel]:
        return encoder_builds.models().order_by(*self.ordering)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> EmbeddingModel | None:
        try:
            return encoder_builds.find_model(int(object_id))
        except (ValueError, EmbeddingModel.DoesNotExist):
            return None

    # --- cells ---

    @display(description="Model")
    def model_cell(self, model: EmbeddingModel) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong>{}</strong><code title="{}">{}</code></a>',
            self.url_of("change", model.pk),
            show.one_line(model.spec, 60),
            model.digest,
            model.digest[:12],
        )

    @display(description="Dimension")
    def dimension_cell(self, model: EmbeddingModel) -> int:
        return model.dimension

    @display(description="Quality")
    def overlap_cell(self, model: EmbeddingModel) -> str:
        return _overlap(model) or show.DASH

    @display(description="Parameters")
    def parameters_cell(self, model: EmbeddingModel) -> str:
        return show.one_line(_listed(model.parameters)) or show.DASH

    @display(description="First used")
    def created_cell(self, model: EmbeddingModel) -> SafeString | str:
        return show.ago(model.created_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<path:object_id>/build/", self.build_view, "build"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        model = self.object_or_none(request, object_id)
        if model is None:
            return self._unknown(request, object_id)
        return self.page(
            request,
            "embeddings/model.html",
            title=f"Model {model.spec}",
            model=model,
            facts=_facts(model, request.user),
            may_build=model.spec in encoder_builds.BUILDABLE and request.user.has_perm(encoder_builds.PERMISSION),
        )

    @permission_required(encoder_builds.PERMISSION)
    def build_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        model = self.object_or_none(request, object_id)
        if model is None:
            return self._unknown(request, object_id)
        if request.method == "POST":
            try:
                job_id = encoder_builds.start_build(actor_of(request), model.spec)
                messages.success(request, format_html("The build has been sent: {}", show.job_link(job_id)))
            except ValueError as exc:
                messages.error(request, f"{exc}.")
        may_view = self.has_view_permission(request)
        return HttpResponseRedirect(self.url_of("change", model.pk) if may_view else reverse("admin:index"))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))

    def _unknown(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.to_list(request, f"There is no model {object_id[:60]!r}.")


def _overlap(model: EmbeddingModel) -> str:
    overlap = model.quality.get("top_10_overlap")
    return f"{overlap:.3f} top-10 overlap" if isinstance(overlap, int | float) else ""


def _quality(model: EmbeddingModel) -> str:
    rest = {name: value for name, value in model.quality.items() if name != "top_10_overlap"}
    return ", ".join(part for part in (_overlap(model), _listed(rest)) if part)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _facts(model: EmbeddingModel, user: Any) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        ("Digest", format_html('<code class="sy-break">{}</code>', model.digest)),
        ("Dimension", str(model.dimension)),
        ("Quality", _quality(model)),
        ("Parameters", _listed(model.parameters)),
        ("Used by", ", ".join(encoder_builds.used_by(model, user)) or "none that you may see"),
        ("First used", show.exact(model.created_at)),
    ]
    return [(name, value) for name, value in facts if value]
