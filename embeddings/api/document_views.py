"""/api/v1/documents/"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings.api.document_serializers import (
    DeletedSerializer,
    DocumentDetailSerializer,
    DocumentSerializer,
    IdsSerializer,
    ItemSerializer,
    ListQuerySerializer,
    PutResultSerializer,
    QuerySerializer,
    shown_document,
    shown_documents,
)
from embeddings.models import Collection
from embeddings.services import collections, document_lists, documents
from embeddings.services.items import BadItem
from jobs.api.pagination import ByName, NewestFirst
from jobs.api.parsers import StrictJSONParser
from jobs.api.problems import add_meaning
from jobs.api.views import ApiView

add_meaning(collections.UnknownCollection, 404, "unknown-collection")
add_meaning(document_lists.UnknownDocument, 404, "not-found")
add_meaning(documents.TooManyItems, 400, "too-many-items", "#")
add_meaning(BadItem, 400, "invalid-request", "#/ids")

LARGEST_ID = 2**63 - 1
_ID = OpenApiParameter("document_id", str, OpenApiParameter.PATH, description="The sender's id; it may hold slashes.")


class DocumentsParser(StrictJSONParser):
    """JSON of at most 16 MB. A document with characters that cannot be kept is refused by itself."""

    max_bytes = 16_000_000
    advice = "send fewer documents at a time"
    mend = False


class NewestDocumentsFirst(NewestFirst):
    """Up to 200 documents, the last changed first."""

    ordering = ("-updated_at", "-id")

    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            if not (position[1].isascii() and position[1].isdigit() and int(position[1][:25]) <= LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[1] = int(position[1])
        return backwards, position


class DocumentsById(ByName):
    """Up to 200 documents by their ids, for searches by the beginning of an id."""

    ordering = ("external_id",)


class DocumentsApiView(ApiView):
    """Of one collection, which a query parameter names."""

    pagination_class: Any = None
    parameters = frozenset({"collection"})
    query_class: type[serializers.Serializer[Any]] = QuerySerializer

    def query(self, request: Request) -> dict[str, Any]:
        """The query parameters. Raises ValidationError."""
        query = self.query_class(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)

    def collection(self, request: Request) -> Collection:
        """Raises UnknownCollection also for one that the user may not see."""
        return collections.find(self.query(request)["collection"], request.user)


class DocumentsView(DocumentsApiView):
    required_permission = "embeddings.view_document"
    required_to_change = "embeddings.add_document"
    pagination_class = NewestDocumentsFirst
    parameters = frozenset({"collection", "search", "state"})
    query_class = ListQuerySerializer
    parser_classes = (DocumentsParser,)
    serializer_class = DocumentSerializer

    @extend_schema(
        operation_id="documents_list", parameters=[ListQuerySerializer], responses=DocumentSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """A collection's documents, the last changed first."""
        query = self.query(request)
        collection = collections.find(query["collection"], request.user)
        found = document_lists.documents_of(collection, request.user)
        if "state" in query:
            found = document_lists.in_state(found, collection, query["state"])
        pages: ByName = NewestDocumentsFirst()
        if "search" in query:
            found = document_lists.with_prefix(found, query["search"])
            pages = DocumentsById()
        page = pages.paginate_queryset(found, request, self)
        return pages.get_paginated_response(shown_documents(collection, page))

    @extend_schema(
        operation_id="documents_put",
        parameters=[QuerySerializer],
        request=ItemSerializer(many=True),
        responses={200: PutResultSerializer, 413: OpenApiTypes.OBJECT},
    )
    def put(self, request: Request) -> Response:
        """Store up to 1,000 documents: new ones are created, known ones updated where they differ.

        Those that are none are told in `errors`, and the others stored; if none is any good, the answer is 400. An
        unchanged text keeps its vectors; a new one is found by search in a moment.
        """
        if not isinstance(request.data, list):
            raise ValidationError({"non_field_errors": ['the body takes a list, such as [{"id": "a", "text": "…"}]']})
        result = documents.put(self.actor, self.query(request)["collection"], request.data)
        if result.errors and len(result.errors) == len(request.data):
            raise ValidationError({str(one.index): [one.error] for one in result.errors})
        return Response(PutResultSerializer(result).data)


class DocumentView(DocumentsApiView):
    required_permission = "embeddings.view_document"
    required_to_change = "embeddings.delete_document"
    serializer_class = DocumentDetailSerializer

    @extend_schema(operation_id="documents_show", parameters=[_ID, QuerySerializer], responses=DocumentDetailSerializer)
    def get(self, request: Request, document_id: str) -> Response:
        """One document, with its text and what it is cut into."""
        collection = self.collection(request)
        document = document_lists.find_document(collection, document_id, request.user)
        return Response(shown_document(collection, document))

    @extend_schema(operation_id="documents_delete", parameters=[_ID, QuerySerializer], responses={204: None})
    def delete(self, request: Request, document_id: str) -> Response:
        """Delete a document for good; search finds it no more."""
        collection = self.collection(request)
        document = document_lists.find_document(collection, document_id, request.user)
        documents.delete(self.actor, collection, [document.external_id])
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeleteDocumentsView(DocumentView):
    """A document whose id is "delete" is served here, too."""

    serializer_class = IdsSerializer  # type: ignore[assignment]

    @extend_schema(exclude=True)
    def get(self, request: Request, document_id: str = "delete") -> Response:
        return super().get(request, document_id)

    @extend_schema(exclude=True)
    def delete(self, request: Request, document_id: str = "delete") -> Response:
        return super().delete(request, document_id)

    @extend_schema(
        operation_id="documents_delete_many",
        parameters=[QuerySerializer],
        request=IdsSerializer,
        responses=DeletedSerializer,
    )
    def post(self, request: Request) -> Response:
        """Delete up to 1,000 documents for good. Unknown ids are passed over."""
        deleted = documents.delete(self.actor, self.query(request)["collection"], self.body(request)["ids"])
        return Response({"deleted": deleted})
