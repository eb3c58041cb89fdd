"""What our admin pages share: read-only lists, pages of our own, and audited edits."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin as StockModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from jobs.admin.paginator import CappedChangeList, CappedPaginator
from jobs.checks import PERMISSION_MARK
from jobs.operators.actors import Actor
from jobs.operators.search import is_storable

DEFAULT_ICON = "folder_open"


def actor_of(request: HttpRequest) -> Actor:
    return Actor.of_user(request.user, "admin")


View = Callable[..., HttpResponse]


def permission_required(permission: str) -> Callable[[View], View]:
    """Answer 403 on any method without the permission; the view acts on POST alone."""
    return _guarding(lambda model_admin: permission, permission)


def permission_named(attribute: str) -> Callable[[View], View]:
    """As `permission_required`, for the one that the class names by this attribute."""
    return _guarding(lambda model_admin: str(getattr(model_admin, attribute)), attribute)


def _guarding(permission_of: Callable[[Any], str], mark: str) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(model_admin: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            actor_of(request).require(permission_of(model_admin))
            return view(model_admin, request, *args, **kwargs)

        setattr(guarded, PERMISSION_MARK, mark)
        return guarded

    return decorate


class BaseAdmin(ModelAdmin):
    """Bounded lists without the filters, sorts and counts that scan.

    sidebar_icon: the name of a Material Symbol, for apps whose pages have a group of their own in the sidebar.
    """

    sidebar_icon = DEFAULT_ICON
    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 25
    list_max_show_all = 0
    list_disable_select_all = True
    list_filter_submit = True
    list_filter_sheet = True
    list_fullwidth = True
    list_before_template = "jobs/list_notes.html"
    change_list_template = "jobs/list.html"
    sortable_by = ()
    actions: Any = []
    show_facets = StockModelAdmin.show_facets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CappedChangeList]:
        return CappedChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django would take any field of the model from the URL, also one without an index.
        offered = {getattr(choice, "parameter_name", None) for choice in self.list_filter}
        return lookup in offered | {getattr(choice, "until_name", None) for choice in self.list_filter}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Refuse ticked rows that cannot be rows: Django would hand their ids to Postgres as they came."""
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            if not self._is_key(key):
                return self.to_list(request, f"{key[:60]!r} is not the id of a row here; tick rows of the list.")
        return super().changelist_view(request, extra_context)

    def _is_key(self, key: str) -> bool:
        try:
            self.opts.pk.to_python(key)
        except ValidationError:
            return False
        return is_storable(key)

    def page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        """A page of our own inside the admin's frame."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request, template, {**self.admin_site.each_context(request), "opts": self.opts, **context}
        )

    def own_path(self, route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
        wrapped = self.admin_site.admin_view(view)
        return path(route, wrapped, name=f"{self.opts.app_label}_{self.opts.model_name}_{name}")

    def url_of(self, name: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)

    def object_or_none(self, request: HttpRequest, object_id: str) -> Any:
        plain = unquote(object_id)
        return self.get_object(request, plain) if is_storable(plain) else None

    def to_list(self, request: HttpRequest, error: str = "") -> HttpResponse:
        if error:
            messages.error(request, error)
        return HttpResponseRedirect(self.url_of("changelist"))


class ReadOnlyAdmin(BaseAdmin):
    """Rows that the ledger alone writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


class AuditedAdmin(BaseAdmin):
    """Rows that people edit: each edit is recorded, by the names of the fields alone."""

    list_filter_submit = False

    def _record(self, request: HttpRequest, done: str, obj: models.Model, **detail: Any) -> None:
        actor_of(request).record(f"{self.opts.model_name}.{done}", obj.pk, name=str(obj), **detail)

    def save_model(self, request: HttpRequest, obj: Any, form: "forms.ModelForm[Any]", change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            self._record(request, "change" if change else "create", obj, fields=sorted(form.changed_data))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self._record(request, "delete", obj)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        with transaction.atomic():
            for obj in queryset:
                self._record(request, "delete", obj)
            super().delete_queryset(request, queryset)
