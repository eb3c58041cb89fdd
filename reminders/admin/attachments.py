"""Files of tasks: what each is, what the virus scanner says of it, and whether it is given out."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.filters import FixedFilter
from jobs.admin.service_pages import Question, line, sentence
from jobs.operators.lookups import NotHere
from reminders.admin.common import REFUSALS, RemindersAdmin, page_url, todo_of
from reminders.files.kinds import KINDS, OF_CONTENT_TYPE
from reminders.models import Attachment, Blob, ScanState, ThumbnailState
from reminders.operators import attachments as operators
from reminders.services import attachments as services
from reminders.services.file_scanning import ScanNotPossible

RESCAN = "reminders.scan_blob"
PILLS = {
    ScanState.PENDING: "queued",
    ScanState.CLEAN: "good",
    ScanState.INFECTED: "bad",
    ScanState.NOT_SCANNED: "quiet",
}
_AGAIN = Question("Scan this file again?", "It is not given out until the virus scanner has found it clean.", "Scan")
_DELETE = Question(
    "Take this file from its task?", "Its content is removed a day after nothing refers to it any more.", "Take it away"
)


def scan_pill(blob: Blob) -> SafeString:
    return show.pill(ScanState(blob.scan_state).label.lower(), PILLS[ScanState(blob.scan_state)])


def size_text(size: int) -> str:
    """ "1.4 MB", "12 kB"."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:,.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"


class ScanStateFilter(FixedFilter):
    title = "scan"
    parameter_name = "scan"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.label.lower()) for state in ScanState]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(blob__scan_state=value)


class TypeFilter(FixedFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.name, kind.label) for kind in KINDS.values()]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(blob__content_type=KINDS[value].content_type)


@admin.register(Attachment)
class AttachmentAdmin(RemindersAdmin):
    noun = "attachment"
    sidebar_icon = "attach_file"
    refusals = (*REFUSALS, ScanNotPossible)
    list_display = ("state_cell", "file_cell", "type_cell", "size_cell", "todo_cell", "created_cell")
    list_display_links = None
    list_filter = (ScanStateFilter, TypeFilter)
    search_fields = ("name",)
    search_help_text = "Beginning of a file's name"
    ordering = ("-created_at", "-id")
    actions = ("rescan_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attachment]:
        return operators.attachments(actor_of(request)).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Attachment], search_term: str
    ) -> tuple[QuerySet[Attachment], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        named = operators.attachments(actor_of(request), name=term)
        return queryset.filter(pk__in=named.order_by().values("pk")), False

    def has_scan_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(RESCAN))

    @admin.action(description="Scan again", permissions=["scan"])
    def rescan_selected(self, request: HttpRequest, queryset: QuerySet[Attachment]) -> None:
        """Each by itself; those that cannot be scanned are told."""
        actor, done, skipped = actor_of(request), 0, []
        for key in self.ticked(request):
            try:
                operators.rescan(actor, key)
            except (ScanNotPossible, NotHere) as exc:
                skipped.append(str(exc))
            else:
                done += 1
        self.tell(request, f"scanning {done} again", skipped)

    # --- cells ---

    @display(description="Scan")
    def state_cell(self, row: Attachment) -> SafeString:
        return scan_pill(row.blob)

    @display(description="File")
    def file_cell(self, row: Attachment) -> SafeString:
        why = row.blob.verdict or row.blob.error
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}</span></a>',
            page_url("attachment", row.pk),
            line(row.name, 80),
            line(why, 100) if why else f"by {row.uploaded_by}" if row.uploaded_by else "",
        )

    @display(description="Type")
    def type_cell(self, row: Attachment) -> str:
        kind = OF_CONTENT_TYPE.get(row.blob.content_type)
        return kind.label if kind else row.blob.content_type

    @display(description="Size")
    def size_cell(self, row: Attachment) -> str:
        return size_text(row.blob.size)

    @display(description="Task")
    def todo_cell(self, row: Attachment) -> SafeString | str:
        return todo_of(row)

    @display(description="Attached")
    def created_cell(self, row: Attachment) -> SafeString | str:
        return show.ago(row.created_at)

    # --- its page ---

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("<int:attachment_id>/rescan/", self.rescan_view, "rescan"),
            self.own_path("<int:attachment_id>/remove/", self.remove_view, "remove"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        row = self.found(lambda number: operators.find_attachment(actor_of(request), number), object_id)
        if row is None:
            return self.missing(request, object_id)
        buttons = []
        why_not = services.why_not_served(row.blob)
        if not why_not:
            buttons.append(("Download", reverse("file-content", args=[row.pk])))
        if request.user.has_perm(RESCAN) and row.blob.scan_state != ScanState.INFECTED:
            buttons.append(("Scan again", self.url_of("rescan", row.pk)))
        if request.user.has_perm("reminders.change_todo"):
            buttons.append(("Take away", self.url_of("remove", row.pk)))
        return self.page(
            request,
            "reminders/admin/row.html",
            title=line(row.name, 120),
            pill=scan_pill(row.blob),
            error=sentence(line(why_not, 1000)) if why_not else "",
            facts=[(label, value) for label, value in _facts(row) if value],
            buttons=buttons,
        )

    @permission_required(RESCAN)
    def rescan_view(self, request: HttpRequest, attachment_id: int) -> HttpResponse:
        actor = actor_of(request)
        row = self.found(operators.find_attachment_of, attachment_id)
        if row is None:
            return self.missing(request, attachment_id)
        back = page_url("attachment", row.pk)
        if request.method != "POST":
            return self.ask(request, _AGAIN, line(row.name), back)
        if self.do(request, lambda: operators.rescan(actor, row.pk)) is not None:
            messages.success(request, "It is scanned again; until then it is not given out.")
        return self.back_to(request, back)

    @permission_required("reminders.change_todo")
    def remove_view(self, request: HttpRequest, attachment_id: int) -> HttpResponse:
        actor = actor_of(request)
        row = self.found(lambda number: operators.find_attachment(actor, number), attachment_id)
        if row is None:
            return self.missing(request, attachment_id)
        if request.method != "POST":
            return self.ask(request, _DELETE, line(row.name), page_url("attachment", row.pk))

        def remove() -> bool:
            operators.delete(actor, row.pk)
            return True

        if self.do(request, remove):
            messages.success(request, f"{line(row.name)} was taken from its task.")
        return self.back_to(request, self.url_of("changelist"))


def _thumbnail(row: Attachment) -> SafeString | str:
    """The browser fetches it by itself, so that no page waits for the storage."""
    blob = row.blob
    if blob.thumbnail_state == ThumbnailState.READY and not services.why_not_served(blob):
        address = reverse("file-thumbnail", args=[row.pk])
        return format_html('<img src="{}" alt="Thumbnail" loading="lazy">', address)
    words = {ThumbnailState.PENDING: "not made yet", ThumbnailState.FAILED: line(blob.thumbnail_error, 300)}
    return words.get(ThumbnailState(blob.thumbnail_state), "")


def _facts(row: Attachment) -> list[tuple[str, Any]]:
    blob = row.blob
    kind = OF_CONTENT_TYPE.get(blob.content_type)
    others = Attachment.objects.filter(blob=blob).exclude(pk=row.pk).count()
    return [
        ("Task", todo_of(row)),
        ("Type", f"{kind.label} ({blob.content_type})" if kind else blob.content_type),
        ("Size", size_text(blob.size) + (f" ({blob.size:,} bytes)" if blob.size >= 1000 else "")),
        ("SHA-256", format_html('<span class="sy-break">{}</span>', blob.sha256)),
        ("Scanned", show.exact(blob.scanned_at) if blob.scanned_at else ""),
        ("Found", line(blob.verdict, 255)),
        ("Scan failed", line(blob.error, 500)),
        ("Thumbnail", _thumbnail(row)),
        ("Attached by", str(row.uploaded_by) if row.uploaded_by else ""),
        ("Attached", show.exact(row.created_at)),
        ("Same content", f"also attached {others} times elsewhere" if others else ""),
    ]
