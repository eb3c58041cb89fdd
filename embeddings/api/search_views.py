"""/api/v1/search/"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from embeddings.services import asking
from embeddings.services.collections import UnknownCollection
from jobs import strict_json
from jobs.api.limit_views import StrictInteger
from jobs.api.parsers import StrictJSONParser
from jobs.api.problems import add_meaning
from jobs.api.serializers import JsonObject, StrictBoolean, StrictSerializer
from jobs.api.views import ApiView

add_meaning(UnknownCollection, 404, "unknown-collection")
add_meaning(asking.SearchUnavailable, 503, "search-unavailable")

_GROUP = "One hit for each document, by its best chunk; false: one for each chunk."
_EXPLAIN = "Rank and score of each hit by vector and by words."
_HIGHLIGHT = "Add snippet_html: escaped, with the words of the query in <mark>."


class SearchParser(StrictJSONParser):
    """Characters that cannot be kept are refused by name, as in the query."""

    mend = False


@extend_schema_field(OpenApiTypes.STR)
class JsonText(serializers.Field[Any, Any, Any, Any]):
    """An object as JSON, in a query parameter."""

    def to_internal_value(self, data: Any) -> Any:
        if not data:
            return None
        try:
            return strict_json.loads(str(data), mend=False)
        except strict_json.NotJson as exc:
            raise serializers.ValidationError(f"it is not JSON: {exc}") from None

    def to_representation(self, value: Any) -> Any:
        return value


class SearchQuerySerializer(serializers.Serializer[Any]):
    """The query parameters of a search; `asking` checks what they may be."""

    q = serializers.CharField(
        trim_whitespace=False, allow_blank=True, default="", help_text=f"1 to {asking.MAX_QUERY:,} characters."
    )
    k = serializers.IntegerField(default=asking.DEFAULT_K, help_text=f"How many hits, 1 to {asking.MAX_K}.")
    collection = serializers.CharField(default=asking.FIRST, help_text="The collection's name.")
    mode = serializers.CharField(default="hybrid", help_text=f"One of {', '.join(asking.MODES)}.")
    filter = JsonText(
        default=None, help_text='On metadata, such as {"language": "de", "year": {"gte": 2020}, "tag": {"in": ["a"]}}.'
    )
    explain = serializers.BooleanField(default=True, help_text=_EXPLAIN)
    group = serializers.BooleanField(default=True, help_text=_GROUP)
    highlight = serializers.BooleanField(default=False, help_text=_HIGHLIGHT)


class SearchBodySerializer(StrictSerializer):
    """The same in a body, for long queries and filters."""

    q = serializers.CharField(trim_whitespace=False, allow_blank=True)
    k = StrictInteger(default=asking.DEFAULT_K)
    collection = serializers.CharField(default=asking.FIRST)
    mode = serializers.CharField(default="hybrid")
    filter = JsonObject(default=None, allow_null=True)
    explain = StrictBoolean(default=True)
    group = StrictBoolean(default=True)
    highlight = StrictBoolean(default=False)


class HitChunkSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    position = serializers.IntegerField(help_text="Counted from 0 within the document.")
    start = serializers.IntegerField(help_text="First character of the document's text.")
    end = serializers.IntegerField(help_text="Last character, exclusive.")


class HitSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="The sender's id of the document.")
    score = serializers.FloatField(help_text="Higher is better; of what kind depends on the mode.")
    rank = serializers.IntegerField()
    tier = serializers.ChoiceField(choices=["main", "fast", "text"], help_text="Whose vector found it; text: none did.")
    snippet = serializers.CharField()
    snippet_html = serializers.CharField(required=False)
    metadata = JsonObject()
    chunk = HitChunkSerializer()
    explain = JsonObject(required=False)


class IndexSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField(allow_null=True, help_text="Null: there is no index yet.")
    model = serializers.CharField()
    kind = serializers.CharField()
    count = serializers.IntegerField(help_text="Chunks in the index.")
    built_at = serializers.DateTimeField(allow_null=True)


class BesideSerializer(serializers.Serializer[Any]):
    delta = serializers.IntegerField(help_text="Chunks that came since the index was built.")
    tombstones = serializers.IntegerField(help_text="Chunks in the index that have gone.")
    pending = serializers.IntegerField(help_text="Chunks that the fast tier alone has yet.")


class TimingSerializer(serializers.Serializer[Any]):
    """Milliseconds."""

    snapshot = serializers.FloatField(help_text="To have the index ready: long at a process' first search alone.")
    encode = serializers.FloatField()
    vector = serializers.FloatField()
    text = serializers.FloatField()
    join = serializers.FloatField()
    total = serializers.FloatField()


class AnswerSerializer(serializers.Serializer[Any]):
    collection = serializers.CharField()
    mode = serializers.ChoiceField(choices=asking.MODES)
    hits = HitSerializer(many=True)
    index = IndexSerializer(allow_null=True)
    beside = BesideSerializer()
    timing = TimingSerializer()
    warnings = serializers.ListField(child=serializers.CharField(), help_text="What was left out, and why.")


class SearchView(ApiView):
    required_permission = asking.PERMISSION
    pagination_class = None
    parameters = frozenset(SearchQuerySerializer().fields)
    parser_classes = (SearchParser,)
    serializer_class = SearchBodySerializer

    @extend_schema(operation_id="search", parameters=[SearchQuerySerializer], responses=AnswerSerializer)
    def get(self, request: Request) -> Response:
        """The best documents for a query, by meaning and by words, of those that you may see."""
        query = SearchQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return self._answer(**query.validated_data)

    @extend_schema(operation_id="search_long", request=SearchBodySerializer, responses=AnswerSerializer)
    def post(self, request: Request) -> Response:
        """The same, for queries and filters that are too long for a URL."""
        return self._answer(**self.body(request))

    def _answer(self, *, explain: bool, highlight: bool, group: bool, **asked: Any) -> Response:
        from embeddings.services.searching import search
        from embeddings.serving import listener

        try:
            found = search(
                self.request.user,
                asked["q"],
                asked["k"],
                asked["collection"],
                asked["filter"],
                asked["mode"],
                by_document=group,
            )
        except asking.SearchRefused as exc:
            raise ValidationError({exc.name: [exc.reason]}) from None
        listener.start()
        return Response(found.as_json(explain=explain, highlight=highlight))
