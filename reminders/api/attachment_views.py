"""/api/v1/todos/{id}/attachments/ and /api/v1/attachments/"""

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.problems import add_meaning, problem
from jobs.api.rows import NewestRowsFirst, choice_filter, id_parameter, number_filter, text_filter
from jobs.api.serializers import NothingSerializer
from reminders.api.common import ActorFilter, PeopleRowsView, PeopleRowView
from reminders.files.receiving import read_away
from reminders.files.refusals import FileRefused
from reminders.files.storing import StorageAway
from reminders.models import Attachment, ScanState, ThumbnailState
from reminders.operators import attachments as operators
from reminders.services import attachments as services
from reminders.services.attachments import NotServed
from reminders.services.file_scanning import ScanNotPossible
from reminders.web.giving import given_out, shown_thumbnail

add_meaning(StorageAway, 503, "storage-away")
add_meaning(ScanNotPossible, 409, "scan-not-possible")

_ID = id_parameter("attachment_id", "attachment")
_TODO = id_parameter("todo_id", "task")


class AttachmentSerializer(serializers.ModelSerializer[Attachment]):
    size = serializers.IntegerField(source="blob.size", help_text="Bytes.")
    content_type = serializers.CharField(source="blob.content_type", help_text="Found in the content.")
    sha256 = serializers.CharField(source="blob.sha256")
    state = serializers.ChoiceField(source="blob.scan_state", choices=ScanState.choices)
    verdict = serializers.CharField(source="blob.verdict", help_text="The signature that was found.")
    error = serializers.CharField(source="blob.error", help_text="Why a scan has not succeeded yet.")
    scanned_at = serializers.DateTimeField(source="blob.scanned_at", allow_null=True)
    thumbnail_state = serializers.ChoiceField(source="blob.thumbnail_state", choices=ThumbnailState.choices)
    thumbnail_error = serializers.CharField(source="blob.thumbnail_error")
    served = serializers.SerializerMethodField(help_text="Whether its content can be had now.")
    why_not_served = serializers.SerializerMethodField()
    uploaded_by = serializers.SerializerMethodField()

    class Meta:
        model = Attachment
        fields = [
            *("id", "todo", "name", "size", "content_type", "sha256", "state", "verdict", "error", "scanned_at"),
            *("thumbnail_state", "thumbnail_error", "served", "why_not_served", "uploaded_by", "created_at"),
        ]
        read_only_fields = fields

    def get_served(self, row: Attachment) -> bool:
        return not services.why_not_served(row.blob)

    def get_why_not_served(self, row: Attachment) -> str:
        return services.why_not_served(row.blob)

    @extend_schema_field({"type": "string", "nullable": True})
    def get_uploaded_by(self, row: Attachment) -> str | None:
        return row.uploaded_by.get_username() if row.uploaded_by is not None else None


class UnreadParser(BaseParser):
    """Leaves the body where it is: the service reads it, once it is known who sends it and whether they may."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        from django.http import QueryDict

        return QueryDict()


class AnyAccepted(BaseContentNegotiation):
    """Files come as they are, whatever types the client hopes for."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class AttachmentFilter(ActorFilter):
    listed = operators.attachments
    todo = number_filter("The task's number.", largest=2**63 - 1)
    state = choice_filter("state", list(ScanState.choices), several=True)
    kind = text_filter("The content type, such as application/pdf.", 100)
    name = text_filter("The beginning of the file's name.")

    class Meta:
        model = Attachment
        fields: ClassVar[list[str]] = []


class FilesView(PeopleRowView):
    """Answers refusals of files with what each means."""

    content_negotiation_class = AnyAccepted

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, FileRefused):
            read_away(self.request._request)
            return self._refusal(exc.status, exc.code, str(exc))
        if isinstance(exc, NotServed):
            code = status.HTTP_403_FORBIDDEN if exc.state in ("infected", "not_scanned") else status.HTTP_409_CONFLICT
            return self._refusal(code, f"file_{exc.state}", str(exc))
        return super().handle_exception(exc)

    def _refusal(self, code: int, word: str, text: str) -> Response:
        body = problem(code, word.replace("_", "-"), f"{text[:1].upper()}{text[1:]}.", self.request.path)
        return Response(body, status=code, content_type="application/problem+json")


class AttachmentsView(PeopleRowsView):
    queryset = Attachment.objects.all()
    filterset_class = AttachmentFilter
    pagination_class = NewestRowsFirst
    serializer_class = AttachmentSerializer

    @extend_schema(operation_id="attachments_list", responses=AttachmentSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Files of the tasks that you may see, the newest first."""
        return self.page(AttachmentSerializer)


class TodoAttachmentsView(FilesView, PeopleRowsView):
    queryset = Attachment.objects.all()
    filter_backends: tuple[Any, ...] = ()
    pagination_class = NewestRowsFirst
    parser_classes = (UnreadParser,)
    serializer_class = AttachmentSerializer
    parameters = frozenset({"name"})

    def get_queryset(self) -> Any:
        return operators.attachments_of(self.actor, self.kwargs["todo_id"])

    @extend_schema(operation_id="todos_attachments_list", parameters=[_TODO], responses=AttachmentSerializer(many=True))
    def get(self, request: Request, todo_id: int) -> Response:
        """A task's files, the newest first."""
        return self.page(AttachmentSerializer)

    @extend_schema(
        operation_id="todos_attachments_add",
        parameters=[_TODO, OpenApiParameter("name", str, description="The file's name, instead of the one sent.")],
        request={"application/octet-stream": OpenApiTypes.BINARY, "multipart/form-data": {"type": "object"}},
        responses={201: AttachmentSerializer},
    )
    def post(self, request: Request, todo_id: int) -> Response:
        """Attach a file: the only file of a form, or the whole body, named by `name` or by Content-Disposition.

        Its type is found in its content; a name that does not fit it gets another extension.
        """
        name = request.query_params.get("name", "")
        row = operators.upload(self.actor, todo_id, request._request, name)
        headers = {"Location": reverse("attachment", args=[row.pk], request=request)}
        return Response(AttachmentSerializer(row).data, status=status.HTTP_201_CREATED, headers=headers)


class AttachmentView(PeopleRowView):
    serializer_class = AttachmentSerializer

    @extend_schema(operation_id="attachments_show", parameters=[_ID], responses=AttachmentSerializer)
    def get(self, request: Request, attachment_id: int) -> Response:
        """One file: what it is, and what the virus scanner says of it."""
        return Response(AttachmentSerializer(operators.find_attachment(self.actor, attachment_id)).data)

    @extend_schema(operation_id="attachments_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, attachment_id: int) -> Response:
        """Take a file from its task. Its content is removed a day after nothing refers to it any more."""
        operators.delete(self.actor, attachment_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RescanView(PeopleRowsView):
    filter_backends: tuple[Any, ...] = ()
    serializer_class = NothingSerializer

    @extend_schema(operation_id="attachments_rescan", parameters=[_ID], responses=AttachmentSerializer)
    def post(self, request: Request, attachment_id: int) -> Response:
        """Have a file scanned again, for operators; until then it is not given out."""
        self.body(request)
        operators.rescan(self.actor, attachment_id)
        return Response(AttachmentSerializer(operators.find_attachment_of(attachment_id)).data)


class ContentView(FilesView):
    @extend_schema(
        operation_id="attachments_content",
        parameters=[_ID],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, attachment_id: int) -> Any:
        """The content, once it is known to be safe."""
        return given_out(*operators.content(self.actor, attachment_id))


class ThumbnailView(FilesView):
    @extend_schema(
        operation_id="attachments_thumbnail",
        parameters=[_ID],
        responses={(200, "image/webp"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, attachment_id: int) -> Any:
        """A picture of at most 256 by 256 pixels."""
        return shown_thumbnail(*operators.thumbnail(self.actor, attachment_id))
