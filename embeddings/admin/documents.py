"""Documents of a collection: how far they are embedded, what they are cut into, and deleting them."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from embeddings.admin.collections import collection_url
from embeddings.models import Collection, Document
from embeddings.services import collections, document_lists, documents
from embeddings.services.document_lists import DocumentState
from embeddings.tasks import FIRST
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.admin.filters import FixedFilter, note
from jobs.admin.paginator import CappedChangeList

PILLS = {document_lists.EMBEDDED: "good", document_lists.PENDING: "queued", document_lists.SET_ASIDE: "bad"}
TEXTS = {document_lists.SET_ASIDE: "set aside"}
MOST_COLLECTIONS = 200
SHOWN_CHUNKS = 100
SHOWN_CHUNK = 120


def state_pill(state: str) -> SafeString:
    return show.pill(TEXTS.get(state, state), PILLS[state])


def document_url(document: Document, page: str = "change") -> str:
    return reverse(f"admin:embeddings_document_{page}", args=[document.pk])


def chosen_collection(request: HttpRequest) -> Collection | None:
    """The one that the list is about: that of the filter, else the usual one, else the first that may be seen."""
    seen = collections.visible_to(request.user)
    name = request.GET.get("collection", "")
    if name:
        return seen.filter(name=name).first() if "\x00" not in name else None
    return seen.filter(name=FIRST).first() or seen.order_by("name").first()


class CollectionFilter(FixedFilter):
    title = "collection"
    parameter_name = "collection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = collections.visible_to(request.user).order_by("name").values_list("name", flat=True)
        return [(name, name) for name in names[:MOST_COLLECTIONS]]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset  # the list is of one collection from the start


class EmbeddedFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, TEXTS.get(state, state)) for state in document_lists.STATES]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        collection = chosen_collection(request)
        if collection is None:
            return queryset.none()
        if value != document_lists.SET_ASIDE:
            note(request, f"This filter looks at the newest {document_lists.NEWEST:,} documents.")
        return document_lists.in_state(queryset, collection, value)


class DocumentChangeList(CappedChangeList):
    def get_results(self, request: HttpRequest) -> None:
        """How far the documents of the page are, in one statement."""
        super().get_results(request)
        collection = chosen_collection(request)
        rows: list[Any] = list(self.result_list)
        states = document_lists.states_of(collection, [row.pk for row in rows]) if collection else {}
        for row in rows:
            row.embedding = states.get(row.pk, DocumentState())


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    sidebar_icon = "description"
    list_display = ("id_cell", "state_cell", "chunks_cell", "metadata_cell", "updated_cell")
    list_display_links = None
    list_filter = (CollectionFilter, EmbeddedFilter)
    search_fields = ("external_id",)
    search_help_text = "Beginning of an id"
    ordering = ("-updated_at", "-id")
    actions = ("delete_chosen",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CappedChangeList]:
        return DocumentChangeList

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("external_id",) if request.GET.get("q", "").strip() else self.ordering

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        collection = chosen_collection(request)
        if collection is None:
            return Document.objects.none()
        return document_lists.documents_of(collection, request.user).order_by(*self.get_ordering(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Document], search_term: str
    ) -> tuple[QuerySet[Document], bool]:
        term = search_term.strip()
        return (document_lists.with_prefix(queryset, term) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        collection = chosen_collection(request)
        if request.method == "GET" and collection is not None and not request.GET.get("collection"):
            note(request, f"Documents of the collection {collection.name}; the filter has the others.")
        return super().changelist_view(request, extra_context)

    # --- cells ---

    @display(description="Document")
    def id_cell(self, document: Document) -> SafeString:
        url, text = document_url(document), show.one_line(document.external_id, 80)
        return format_html('<a class="sy-link sy-break" href="{}"><strong>{}</strong></a>', url, text or "(blank)")

    @display(description="State")
    def state_cell(self, document: Any) -> SafeString:
        return state_pill(document.embedding.state)

    @display(description="Chunks")
    def chunks_cell(self, document: Any) -> str:
        found: DocumentState = document.embedding
        return f"{found.chunks:,} ({found.tokens:,} tokens)"

    @display(description="Metadata")
    def metadata_cell(self, document: Document) -> SafeString | str:
        if not document.metadata:
            return show.DASH
        text = show.call_text([], document.metadata, 60)
        return format_html('<span class="sy-break">{}</span>', text)

    @display(description="Changed")
    def updated_cell(self, document: Document) -> SafeString | str:
        return show.ago(document.updated_at)

    # --- deleting ---

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("embeddings.delete_document")

    @admin.action(description="Delete for good", permissions=["remove"])
    def delete_chosen(self, request: HttpRequest, queryset: QuerySet[Document]) -> HttpResponse | None:
        return self._delete(request, chosen_collection(request), queryset, request.get_full_path())

    @permission_required("embeddings.delete_document")
    def remove_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        document = self._find(request, object_id)
        if document is None:
            return self.to_list(request, f"There is no document {object_id[:40]!r}.")
        chosen = Document.objects.filter(pk=document.pk).defer("text")
        back = f"{self.url_of('changelist')}?{urlencode({'collection': document.collection.name})}"
        return self._delete(request, document.collection, chosen, back)

    def _delete(
        self, request: HttpRequest, collection: Collection | None, chosen: QuerySet[Document], back: str
    ) -> HttpResponse:
        """Ask first; act when the answer comes back."""
        rows = list(chosen[: documents.MAX_ITEMS])
        if collection is None or not rows:
            return self.to_list(request, "None of these documents is there any more.")
        if request.POST.get("confirmed") != "yes":
            return self.page(
                request,
                "embeddings/documents_delete.html",
                title="Delete this document?" if len(rows) == 1 else f"Delete these {len(rows)} documents?",
                collection=collection,
                documents=rows[:20],
                ids=[row.pk for row in rows],
                checkbox_name=ACTION_CHECKBOX_NAME,
                back=back,
            )
        deleted = documents.delete(actor_of(request), collection, [row.external_id for row in rows])
        messages.success(request, f"{deleted} {'document is' if deleted == 1 else 'documents are'} deleted.")
        return HttpResponseRedirect(back)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<path:object_id>/remove/", self.remove_view, "remove"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        document = self._find(request, object_id)
        if document is None:
            return self.to_list(request, f"There is no document {object_id[:40]!r}; it may have been deleted.")
        collection = document.collection
        state = document_lists.states_of(collection, [document.pk])[document.pk]
        chunks = document_lists.chunks_of(document, collection, SHOWN_CHUNKS)
        return self.page(
            request,
            "embeddings/document.html",
            title=show.one_line(document.external_id, 80),
            document=document,
            pill=state_pill(state.state),
            facts=_facts(document, state),
            metadata=show.pretty_json(document.metadata) if document.metadata else "",
            text=show.block(document.text),
            chunks=[_chunk(document, one) for one in chunks],
            more_chunks=state.chunks - len(chunks),
            remove_url=self.url_of("remove", document.pk) if self.has_remove_permission(request) else "",
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))

    def _find(self, request: HttpRequest, object_id: str) -> Document | None:
        if not (object_id.isascii() and object_id.isdigit() and int(object_id[:25]) < 2**63):
            return None
        row = Document.objects.filter(pk=int(object_id)).select_related("collection__model").defer("text").first()
        if row is None or not collections.visible_to(request.user).filter(pk=row.collection_id).exists():
            return None
        found = document_lists.documents_of(row.collection, request.user).defer(None).filter(pk=row.pk).first()
        if found is not None:
            found.collection = row.collection
        return found


def _facts(document: Document, state: DocumentState) -> list[tuple[str, Any]]:
    names = document_lists.group_names(document.group_ids)
    collection = document.collection
    link = format_html('<a class="sy-link" href="{}">{}</a>', collection_url(collection), collection.name)
    return [
        ("Id", format_html('<code class="sy-break">{}</code>', document.external_id)),
        ("Collection", link),
        ("Length", f"{len(document.text):,} characters"),
        ("Cut into", f"{state.chunks:,} {'chunk' if state.chunks == 1 else 'chunks'}, {state.tokens:,} tokens"),
        ("Found by", ", ".join(names.values()) or "all readers of the collection"),
        ("Made", show.exact(document.created_at)),
        ("Changed", show.exact(document.updated_at)),
    ]


def _chunk(document: Document, found: document_lists.ChunkState) -> dict[str, Any]:
    chunk = found.chunk
    return {
        "chunk": chunk,
        "pill": state_pill(found.state),
        "reason": show.one_line(found.reason, 300),
        "text": show.one_line(document.text[chunk.start : chunk.end], SHOWN_CHUNK),
    }
