"""Users and groups, in unfold's forms, with every edit in the audit log."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from jobs.admin.base import AuditedAdmin, actor_of
from jobs.operators.accounts import why_not_deleted

User = get_user_model()
for stock in (User, Group):
    if admin.site.is_registered(stock):
        admin.site.unregister(stock)


@admin.register(User)
class UserAdmin(AuditedAdmin, StockUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_filter = ("is_staff", "is_superuser", "is_active")
    list_display = ("username", "email", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter_submit = True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser edits a superuser: its password would otherwise be open to anyone who may edit users."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Without a button where it would be refused."""
        return super().has_delete_permission(request, obj) and (obj is None or not why_not_deleted(obj))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        user = self.object_or_none(request, object_id)
        why = why_not_deleted(user) if user is not None and super().has_delete_permission(request, user) else ""
        if why:
            messages.error(request, why)
            return HttpResponseRedirect(self.url_of("change", user.pk))
        return super().delete_view(request, object_id, extra_context)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Of several that are ticked, too, none is deleted that is to be closed."""
        refused = [why for user in objs if (why := why_not_deleted(user))]
        return ([], {}, set(), refused) if refused else super().get_deleted_objects(objs, request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = super().get_readonly_fields(request, obj)
        return own if request.user.is_superuser else (*own, "is_superuser", "user_permissions", "groups")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup.removesuffix("__exact") in self.list_filter

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        # The password page saves past save_model.
        if "password" in str(message).lower():
            actor_of(request).record("user.change", obj.pk, name=str(obj), fields=["password"])
        return super().log_change(request, obj, message)


@admin.register(Group)
class GroupAdmin(AuditedAdmin, StockGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Named sets of permissions."""
