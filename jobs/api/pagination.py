"""Pages of lists: by cursor, so that page 10,000 costs what the first one costs."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from jobs.operators.search import is_storable


class ByName(CursorPagination):
    """Up to 200 rows by their unique name.

    DRF's cursor holds the first column alone and counts rows of equal value, and so loses its way backwards among
    equal times. This one holds all columns of the order, the last of them unique.
    """

    ordering: tuple[str, ...] = ("name",)
    page_size_query_param = "page_size"
    max_page_size = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.page_size = self.get_page_size(request) or self.max_page_size
        self.base_url = request.build_absolute_uri()
        backwards, position = self._read_cursor(request.query_params.get(self.cursor_query_param))
        descending = self.ordering[0].startswith("-") is not backwards
        if position is not None:
            queryset = queryset.filter(self._beyond(position, "lt" if descending else "gt"))
        order = [f"-{name}" if descending else name for name in self._columns]
        rows = list(queryset.order_by(*order)[: self.page_size + 1])
        more = len(rows) > self.page_size
        rows = rows[: self.page_size]
        if backwards:
            rows.reverse()
        self.has_next = more if not backwards else True
        self.has_previous = more if backwards else position is not None
        self.page = rows
        return rows

    def get_next_link(self) -> str | None:
        return self._link("next", self.page[-1]) if self.has_next and self.page else None

    def get_previous_link(self) -> str | None:
        return self._link("previous", self.page[0]) if self.has_previous and self.page else None

    def get_page_size(self, request: Request) -> int | None:
        asked = request.query_params.get(self.page_size_query_param)
        # So many digits that Python would not read them.
        if asked is not None and len(asked) > 9 and asked.isascii() and asked.isdigit():
            return self.max_page_size
        if asked is not None and not (asked.isascii() and asked.isdigit() and int(asked) > 0):
            raise ValidationError(
                {"page_size": [f"{asked[:40]!r} is not a whole number from 1 to {self.max_page_size}"]}
            )
        return super().get_page_size(request)

    @property
    def _columns(self) -> list[str]:
        return [name.lstrip("-") for name in self.ordering]

    def _beyond(self, position: list[Any], side: str) -> Q:
        """Rows after a position, for one column or two; the first condition is the one that an index serves."""
        first, *rest = self._columns
        if not rest:
            return Q(**{f"{first}__{side}": position[0]})
        tie = Q(**{f"{first}__{side}": position[0]}) | Q(**{f"{rest[0]}__{side}": position[1]})
        return Q(**{f"{first}__{side}e": position[0]}) & tie

    def _link(self, direction: str, row: Any) -> str:
        values = [getattr(row, name) for name in self._columns]
        texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
        cursor = urlsafe_b64encode(json.dumps([direction, *texts]).encode()).decode().rstrip("=")
        return str(replace_query_param(str(self.base_url), self.cursor_query_param, cursor))

    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        """Whether to go back, and from where. Raises ValidationError for what is no cursor of ours."""
        if text is None:
            return False, None
        try:
            direction, *values = json.loads(urlsafe_b64decode(text.encode("ascii") + b"=="))
            if direction not in ("next", "previous") or len(values) != len(self._columns):
                raise ValueError(text)
            if not all(isinstance(value, str) and is_storable(value) for value in values):
                raise ValueError(text)
            return direction == "previous", values
        except (ValueError, TypeError, RecursionError):
            raise ValidationError({"cursor": ["not made by this API; start without one"]}) from None


class NewestFirst(ByName):
    """Up to 200 rows, newest first."""

    ordering: tuple[str, ...] = ("-created_at", "-id")

    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            try:
                created_at = parse_datetime(position[0])
            except ValueError:
                created_at = None
            if created_at is None or created_at.tzinfo is None:
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[0] = created_at
        return backwards, position


class LatestDueFirst(NewestFirst):
    """Up to 200 rows of unique due times, the latest first."""

    ordering = ("-due_at",)
