"""Rows with a page, a form of settings, and deeds that are asked for before they are done."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from jobs.admin.base import actor_of, permission_named
from jobs.admin.service_pages import Question, ServiceAdmin
from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused


class RowAdmin(ServiceAdmin):
    """may_add, may_edit, may_do: the permissions that it takes. questions: by deed; each is a page below `deed/`."""

    may_add = may_edit = may_do = ""
    add_title = "Add"
    row_template: str
    questions: Mapping[str, Question] = {}

    # --- What each kind of row says ---

    def find(self, actor: Actor, number: int) -> Any:
        """Raises NotHere, or ObjectDoesNotExist."""
        raise NotImplementedError

    def title_of(self, row: Any) -> str:
        return str(row)

    def shown(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What its page shows, for `row_template`."""
        raise NotImplementedError

    def form_of(self, request: HttpRequest, row: Any, data: Any) -> Any:
        """row: None for a new one. data: None before it was sent."""
        raise NotImplementedError

    def save(self, request: HttpRequest, row: Any, form: Any) -> HttpResponse:
        """Store what a valid form gives. Raises SettingsRefused."""
        raise NotImplementedError

    def act(self, request: HttpRequest, row: Any, deed: str) -> HttpResponse | None:
        """Do what was asked for. None: back to the row's page."""
        raise NotImplementedError

    # --- The pages ---

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(self.may_add)

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:row_id>/edit/", self.edit_view, "edit"),
            self.own_path("<int:row_id>/deed/<str:deed>/", self.deed_view, "deed"),
        ]
        return [*own, *super().get_urls()]

    def one(self, request: HttpRequest, given: int | str) -> Any:
        """None if there is none."""
        return self.found(lambda number: self.find(actor_of(request), number), given)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A row's page."""
        self.require_view(request)
        row = self.one(request, object_id)
        if row is None:
            return self.missing(request, object_id)
        return self.page(request, self.row_template, title=self.title_of(row), **self.shown(request, row))

    @permission_named("may_add")
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._form(request, None, self.add_title, self.url_of("changelist"))

    @permission_named("may_edit")
    def edit_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        row = self.one(request, row_id)
        if row is None:
            return self.missing(request, row_id)
        return self._form(request, row, f"Edit {self.title_of(row)}", self.url_of("change", row.pk))

    def _form(self, request: HttpRequest, row: Any, title: str, back: str) -> HttpResponse:
        data = request.POST if request.method == "POST" else None
        form = self.form_of(request, row, data)
        if data is not None and form.is_valid():
            try:
                return self.save(request, row, form)
            except SettingsRefused as exc:
                form.refuse(exc)
        return self.form_page(request, title, form, back)

    def saved(self, request: HttpRequest, row: Any, said: str) -> HttpResponse:
        messages.success(request, said)
        return self.back_to(request, self.url_of("change", row.pk))

    @permission_named("may_do")
    def deed_view(self, request: HttpRequest, row_id: int, deed: str) -> HttpResponse:
        row = self.one(request, row_id)
        if row is None or deed not in self.questions:
            return self.missing(request, row_id)
        back = self.url_of("change", row.pk)
        if request.method != "POST":
            return self.ask(request, self.questions[deed], self.title_of(row), back)
        return self.act(request, row, deed) or self.back_to(request, back)
