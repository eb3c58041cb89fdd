"""/api/v1/replies/ and /api/v1/code-indexes/"""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.problems import add_meaning
from jobs.api.rows import (
    CONFLICT,
    ListFilter,
    NewestNumbersFirst,
    NewestRowsFirst,
    RowsView,
    RowView,
    choice_filter,
    id_parameter,
    number_filter,
    text_filter,
)
from reviews.api.settings_serializers import (
    CodeIndexSerializer,
    IndexSentSerializer,
    IndexSerializer,
    ReplyDetailSerializer,
    ReplySerializer,
    SentSerializer,
)
from reviews.models import CodeIndex, IndexState, Reply, ReplyStatus
from reviews.operators import code_indexes, replies
from reviews.services.addressing import Command

add_meaning(code_indexes.IndexRefused, 409, "index-refused")

_INDEX = id_parameter("index_id", "index")


class ReplyFilter(ListFilter):
    listed = replies.replies
    repository = text_filter("owner/name")
    number = number_filter("Of the pull request.")
    status = choice_filter("status", ReplyStatus.choices, several=True)
    author = text_filter("The account's name.", 100)
    command = choice_filter("command", [(command.value, command.value) for command in Command])

    class Meta:
        model = Reply
        fields: ClassVar[list[str]] = []


class RepliesView(RowsView):
    queryset = Reply.objects.all()
    filterset_class = ReplyFilter
    pagination_class = NewestRowsFirst
    required_permission = "reviews.view_reply"
    serializer_class = ReplySerializer

    @extend_schema(operation_id="replies_list", responses=ReplySerializer(many=True))
    def get(self, request: Request) -> Response:
        """Comments that spoke to us, the newest first."""
        return self.page(ReplySerializer)


class ReplyView(RowView):
    required_permission = "reviews.view_reply"
    serializer_class = ReplyDetailSerializer

    @extend_schema(operation_id="replies_show", parameters=[id_parameter("reply_id", "reply")])
    def get(self, request: Request, reply_id: int) -> Response:
        """One comment that spoke to us, and our answer."""
        return Response(ReplyDetailSerializer(replies.find_reply(reply_id)).data)


class CodeIndexFilter(ListFilter):
    listed = code_indexes.code_indexes
    repository = text_filter("owner/name")
    state = choice_filter("state", IndexState.choices, several=True)

    class Meta:
        model = CodeIndex
        fields: ClassVar[list[str]] = []


class CodeIndexesView(RowsView):
    queryset = CodeIndex.objects.all()
    filterset_class = CodeIndexFilter
    pagination_class = NewestNumbersFirst
    required_permission = "reviews.view_codeindex"
    required_to_change = code_indexes.PERMISSION
    serializer_class = IndexSerializer

    @extend_schema(operation_id="code_indexes_list", responses=CodeIndexSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Indexes of repositories' code, the newest first."""
        return self.page(CodeIndexSerializer)

    @extend_schema(operation_id="code_indexes_request", responses={202: IndexSentSerializer, **CONFLICT}, filters=False)
    def post(self, request: Request) -> Response:
        """Have the code of a repository indexed; only files that changed since the last time are read."""
        row, job = code_indexes.request_index(self.actor, **self.body(request))
        return Response({"repository": row.full_name, "job": job}, status=status.HTTP_202_ACCEPTED)


class CodeIndexView(RowView):
    required_permission = "reviews.view_codeindex"
    required_to_change = code_indexes.PERMISSION
    serializer_class = CodeIndexSerializer

    @extend_schema(operation_id="code_indexes_show", parameters=[_INDEX])
    def get(self, request: Request, index_id: int) -> Response:
        """The index of one repository."""
        return Response(CodeIndexSerializer(code_indexes.find_code_index(index_id)).data)

    @extend_schema(operation_id="code_indexes_remove", parameters=[_INDEX], responses={202: SentSerializer})
    def delete(self, request: Request, index_id: int) -> Response:
        """Have an index removed, with its copy of the repository; a push makes it anew while indexing is on."""
        job = code_indexes.remove_index(self.actor, index_id)
        return Response({"job": job}, status=status.HTTP_202_ACCEPTED)
