"""/api/v1/llm-providers/ and /api/v1/llm-calls/"""

from typing import Any, ClassVar

from django_filters.utils import translate_validation
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.pagination import ByName
from jobs.api.rows import (
    ListFilter,
    NewestRowsFirst,
    RowsView,
    RowView,
    boolean_filter,
    choice_filter,
    given,
    id_parameter,
    number_filter,
    refusals,
    text_filter,
    time_filter,
)
from jobs.api.serializers import NothingSerializer
from jobs.api.views import page_of, whole_list
from jobs.operators.lookups import LARGEST_ID
from reviews.api.review_serializers import LlmCallSerializer
from reviews.api.settings_serializers import (
    LlmProviderSerializer,
    LlmProviderSettingsSerializer,
    SentSerializer,
    SummedCallsSerializer,
)
from reviews.models import LlmCall, LlmProvider
from reviews.operators import llm_calls, llm_providers

_ID = id_parameter("provider_id", "provider")


class ProvidersView(RowsView):
    queryset = LlmProvider.objects.all()
    filter_backends: tuple[Any, ...] = ()
    pagination_class = ByName
    required_permission = "reviews.view_llmprovider"
    required_to_change = "reviews.add_llmprovider"
    serializer_class = LlmProviderSettingsSerializer

    @extend_schema(operation_id="llm_providers_list", responses=LlmProviderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Language models by name; of keys, whether they are entered."""
        return self.page(LlmProviderSerializer)

    @extend_schema(operation_id="llm_providers_create", responses={201: LlmProviderSerializer})
    def post(self, request: Request) -> Response:
        """Enter a language model. Prices that are left out are those that are known of the model."""
        with refusals():
            row = llm_providers.create_provider(self.actor, given(request))
        headers = {"Location": reverse("llm-provider", args=[row.pk], request=request)}
        return Response(LlmProviderSerializer(row).data, status=status.HTTP_201_CREATED, headers=headers)


class ProviderView(RowView):
    required_permission = "reviews.view_llmprovider"
    required_by_method: ClassVar[dict[str, str]] = {
        "PATCH": "reviews.change_llmprovider",
        "DELETE": "reviews.delete_llmprovider",
    }
    serializer_class = LlmProviderSettingsSerializer

    @extend_schema(operation_id="llm_providers_show", parameters=[_ID], responses=LlmProviderSerializer)
    def get(self, request: Request, provider_id: int) -> Response:
        """One language model; of its key, whether it is entered."""
        return Response(LlmProviderSerializer(llm_providers.find_provider(provider_id)).data)

    @extend_schema(operation_id="llm_providers_change", parameters=[_ID], responses=LlmProviderSerializer)
    def patch(self, request: Request, provider_id: int) -> Response:
        """Change what is named. With another address, the key has to be entered again."""
        with refusals():
            row = llm_providers.change_provider(self.actor, provider_id, given(request))
        return Response(LlmProviderSerializer(row).data)

    @extend_schema(operation_id="llm_providers_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, provider_id: int) -> Response:
        """Remove a language model that no repository uses."""
        with refusals():
            llm_providers.delete_provider(self.actor, provider_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CheckProviderView(RowView):
    required_permission = "reviews.change_llmprovider"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="llm_providers_check", parameters=[_ID], responses={202: SentSerializer})
    def post(self, request: Request, provider_id: int) -> Response:
        """Have a job try key and model; what came of it stands in `checked_at` and `error`."""
        self.body(request)
        job = llm_providers.have_checked(self.actor, llm_providers.find_provider(provider_id))
        return Response({"job": job}, status=status.HTTP_202_ACCEPTED)


class CallFilter(ListFilter):
    listed = llm_calls.calls
    provider = text_filter("The provider's name.", 64)
    purpose = choice_filter("purpose", [(name, name) for name in llm_calls.PURPOSES])
    repository = text_filter("owner/name")
    review = number_filter("The review's number here.", LARGEST_ID)
    failed = boolean_filter("Whether it gave no answer.")
    created_after = time_filter()
    created_before = time_filter()

    class Meta:
        model = LlmCall
        fields: ClassVar[list[str]] = []


class CallsView(RowsView):
    queryset = LlmCall.objects.all()
    filterset_class = CallFilter
    pagination_class = NewestRowsFirst
    required_permission = "reviews.view_llmcall"
    serializer_class = LlmCallSerializer

    @extend_schema(operation_id="llm_calls_list", responses=LlmCallSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest calls of language models first, with what each cost."""
        return self.page(LlmCallSerializer)


class CallView(RowView):
    required_permission = "reviews.view_llmcall"
    serializer_class = LlmCallSerializer

    @extend_schema(operation_id="llm_calls_show", parameters=[id_parameter("call_id", "call")])
    def get(self, request: Request, call_id: int) -> Response:
        """One call of a language model."""
        return Response(LlmCallSerializer(llm_calls.find_call(call_id)).data)


class SumsView(RowsView):
    queryset = LlmCall.objects.none()
    filterset_class = CallFilter
    pagination_class = None
    parameters = frozenset({"by"})
    required_permission = "reviews.view_llmcall"
    serializer_class = SummedCallsSerializer

    @extend_schema(
        operation_id="llm_calls_sums",
        parameters=[
            OpenApiParameter("by", str, enum=[*llm_calls.SUMMED_BY], description="What to sum by; day if left out.")
        ],
        responses=page_of(SummedCallsSerializer, "SummedCallsPage"),
    )
    def get(self, request: Request) -> Response:
        """Calls and cost by day, provider or repository, of the last 30 days unless `created_after` is given."""
        by = request.query_params.get("by", "day")
        if by not in llm_calls.SUMMED_BY:
            raise ValidationError({"by": [f"unknown {by[:40]!r}; choose from: {', '.join(llm_calls.SUMMED_BY)}"]})
        rows = llm_calls.sums(by, **self._asked(request))
        return whole_list(list(SummedCallsSerializer(rows, many=True).data))

    def _asked(self, request: Request) -> dict[str, Any]:
        """The filters. Raises ValidationError."""
        asked = CallFilter(request.query_params, queryset=self.get_queryset(), request=request)
        if not asked.is_valid():
            raise translate_validation(asked.errors)
        return asked.asked()
