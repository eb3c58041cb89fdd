"""/api/v1/todos/import/, /api/v1/todos/export.ics and /api/v1/calendar-feed/"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.parsers import BodyTooLarge, StrictJSONParser
from jobs.api.problems import add_meaning
from jobs.api.serializers import NothingSerializer, StrictSerializer
from reminders.api.common import PeopleRowView
from reminders.calendar.items import CalendarRefused
from reminders.calendar.lines import MAX_BYTES
from reminders.operators import access
from reminders.operators import calendars as operators
from reminders.services.calendars import Imported

add_meaning(CalendarRefused, 400, "calendar-refused", "#/calendar")

_USER = OpenApiParameter(
    "user", str, description="Whose; your own if left out. Another's takes permissions of their tasks."
)


class CalendarParser(BaseParser):
    media_type = "text/calendar"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise BodyTooLarge(f"The calendar is larger than {MAX_BYTES:,} bytes; import it in parts.")
        return body


class LongJSONParser(StrictJSONParser):
    """A calendar in JSON, with its escapes."""

    max_bytes = 2 * MAX_BYTES
    advice = "import the calendar in parts"
    mend = False


class CalendarRenderer(BaseRenderer):
    """Calendars as they are; errors are JSON, whatever was asked for."""

    media_type = "text/calendar"
    format = "ics"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return data.encode() if isinstance(data, str) else json.dumps(data).encode()


class CalendarSerializer(StrictSerializer):
    calendar = serializers.CharField(trim_whitespace=False, help_text="The text of an .ics file.")


class CalendarErrorSerializer(serializers.Serializer[Any]):
    """What is wrong with one task of a file."""

    line = serializers.IntegerField(help_text="Where it begins; 0 if it was read, and could not be stored.")
    uid = serializers.CharField(allow_blank=True)
    summary = serializers.CharField(allow_blank=True)
    what = serializers.CharField()
    remedy = serializers.CharField()
    imported = serializers.BooleanField(help_text="Whether the task was taken without this part.")


class ImportedSerializer(serializers.Serializer[Any]):
    created = serializers.ListField(child=serializers.IntegerField(), help_text="Numbers of tasks.")
    updated = serializers.ListField(child=serializers.IntegerField())
    unchanged = serializers.ListField(child=serializers.IntegerField())
    errors = CalendarErrorSerializer(many=True)  # type: ignore[assignment]  # what is told, not what failed


class FeedSerializer(serializers.Serializer[Any]):
    exists = serializers.BooleanField()
    created_at = serializers.DateTimeField(allow_null=True)
    last_read_at = serializers.DateTimeField(allow_null=True, help_text="Noted once an hour.")


class NewFeedSerializer(FeedSerializer):
    url = serializers.CharField(help_text="Shown this once: whoever has it reads your tasks.")


class _OfPerson(PeopleRowView):
    parameters: ClassVar[frozenset[str]] = frozenset({"user"})

    def person(self) -> Any:
        """Raises NotHere, PermissionDenied."""
        return access.require_self_or(self.actor, self.request.query_params.get("user", ""), "view_todo")


class ImportView(_OfPerson):
    parser_classes = (CalendarParser, LongJSONParser)
    serializer_class = CalendarSerializer

    @extend_schema(
        operation_id="todos_import",
        parameters=[_USER],
        request={"text/calendar": OpenApiTypes.STR, "application/json": CalendarSerializer},
        responses={200: ImportedSerializer},
    )
    def post(self, request: Request) -> Response:
        """Take in the tasks of an .ics file. What is wrong with single tasks is told, and stops no other."""
        body: Any = request.data
        data = body if isinstance(body, bytes) else self._text(body)
        return Response(imported_json(operators.import_calendar(self.actor, self.person(), data)))

    def _text(self, body: Any) -> str:
        text = body.get("calendar") if isinstance(body, Mapping) else None
        if not isinstance(text, str) or set(body) != {"calendar"}:
            raise ValidationError({"calendar": ["must be the text of an .ics file, and the only field"]})
        return text


class ExportView(_OfPerson):
    renderer_classes = (CalendarRenderer,)
    serializer_class = NothingSerializer

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """There is one kind, whatever is asked for."""
        return CalendarRenderer(), CalendarRenderer.media_type

    @extend_schema(
        operation_id="todos_export", parameters=[_USER], responses={(200, "text/calendar"): OpenApiTypes.STR}
    )
    def get(self, request: Request) -> Response:
        """Your open tasks, and those closed in the last 30 days, as iCalendar."""
        text = operators.export_calendar(self.actor, self.person())
        headers = {"Content-Disposition": 'attachment; filename="tasks.ics"', "Cache-Control": "private, no-cache"}
        return Response(text, content_type="text/calendar; charset=utf-8", headers=headers)


class FeedView(PeopleRowView):
    serializer_class = NothingSerializer

    @extend_schema(operation_id="calendar_feed_show", responses=FeedSerializer)
    def get(self, request: Request) -> Response:
        """Whether you have a calendar feed, and when it was read last."""
        return Response(feed_json(operators.find_feed(self.actor, request.user)))

    @extend_schema(operation_id="calendar_feed_renew", responses={201: NewFeedSerializer})
    def post(self, request: Request) -> Response:
        """Make your calendar feed anew; a former address ends. The new one is in this answer alone."""
        self.body(request)
        feed, url = operators.renew_feed(self.actor, request.user)
        address = url if settings.PUBLIC_URL else request.build_absolute_uri(url)
        body = {**feed_json(feed), "url": address}
        return Response(body, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})

    @extend_schema(operation_id="calendar_feed_revoke", responses={204: None})
    def delete(self, request: Request) -> Response:
        """End your calendar feed."""
        operators.revoke_feed(self.actor, request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


def imported_json(result: Imported) -> dict[str, Any]:
    return {
        "created": result.created,
        "updated": result.updated,
        "unchanged": result.unchanged,
        "errors": [problem.as_dict() for problem in result.errors],
    }


def feed_json(feed: Any) -> dict[str, Any]:
    if feed is None:
        return {"exists": False, "created_at": None, "last_read_at": None}
    return {"exists": True, "created_at": feed.created_at, "last_read_at": feed.last_read_at}
