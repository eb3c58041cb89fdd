"""/api/v1/tokens/"""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import serializers
from jobs.api.pagination import ByName
from jobs.api.views import ApiView
from jobs.models import ApiToken
from jobs.operators import tokens


class NewestTokens(ByName):
    """Up to 200 rows, the largest number first."""

    ordering = ("-id",)

    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None and not (position[0].isascii() and position[0].isdigit() and len(position[0]) < 19):
            raise ValidationError({"cursor": ["not made by this API; start without one"]})
        return backwards, position


class TokensView(ApiView):
    queryset = ApiToken.objects.all()
    pagination_class = NewestTokens
    required_permission = "jobs.view_apitoken"
    required_to_change = "jobs.add_apitoken"
    serializer_class = serializers.TokenSpecSerializer

    @extend_schema(operation_id="tokens_list", responses=serializers.TokenSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Your own tokens, or everybody's for a superuser; never their texts."""
        page = self.paginate_queryset(tokens.find_tokens(self.actor))
        return self.get_paginated_response(serializers.TokenSerializer(page, many=True).data)

    @extend_schema(operation_id="tokens_create", responses={201: serializers.NewTokenSerializer})
    def post(self, request: Request) -> Response:
        """Make a token. Its text is in this answer, and never to be had again."""
        asked = self.body(request)
        owner = tokens.find_owner(self.actor, asked.get("user"))
        token, text = tokens.create_token(self.actor, owner, asked["name"], asked.get("expires_at"))
        body = {**serializers.TokenSerializer(token).data, "token": text}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class TokenView(ApiView):
    pagination_class = None
    required_permission = "jobs.change_apitoken"
    serializer_class = serializers.NothingSerializer

    @extend_schema(operation_id="tokens_revoke", responses={204: None})
    def delete(self, request: Request, token_id: int) -> Response:
        """Revoke a token; its row stays."""
        tokens.revoke_token(self.actor, token_id)
        return Response(status=204)
