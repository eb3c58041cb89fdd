"""API tokens: made here and shown once, revoked, never edited."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs.admin import show
from jobs.admin.base import BaseAdmin, actor_of, permission_required
from jobs.admin.enqueue import LocalTime
from jobs.models import ApiToken
from jobs.operators.tokens import TokenRefused, create_token, revoke_token


class TokenForm(forms.Form):
    name = forms.CharField(
        label="Name",
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="What it is for, such as a dashboard.",
    )
    user: Any = forms.ModelChoiceField(
        label="User", queryset=None, widget=UnfoldAdminSelectWidget, help_text="The token may do what this user may do."
    )
    expires_at = LocalTime(label="Expires", required=False, help_text="Empty: never.")

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        users = get_user_model().objects.filter(is_active=True).order_by("username")
        # A token has all of its user's permissions: only a superuser may make one for somebody else.
        field: Any = self.fields["user"]
        field.queryset = users if is_superuser(request) else users.filter(username=request.user.get_username())
        field.initial = request.user.pk


def is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


@admin.register(ApiToken)
class ApiTokenAdmin(BaseAdmin):
    list_display = ("name_cell", "state_cell", "user", "created_cell", "used_cell", "expires_cell", "revoke_cell")
    list_display_links = None
    list_filter_submit = False
    ordering = ("-created_at",)

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        tokens = super().get_queryset(request).select_related("user")
        return tokens if is_superuser(request) else tokens.filter(user=request.user)

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<int:token_id>/revoke/", self.revoke_view, "revoke"), *super().get_urls()]

    @permission_required("jobs.add_apitoken")
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        form = TokenForm(request, request.POST if request.method == "POST" else None)
        made: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            try:
                token, text = create_token(actor_of(request), given["user"], given["name"], given["expires_at"])
                made = {"token": token, "text": text}
            except TokenRefused as exc:
                form.add_error("expires_at" if "expires_at" in str(exc) else "name", str(exc))
        response = self.page(
            request, "jobs/token.html", title="New API token", form=form, back=self.url_of("changelist"), **made
        )
        response["Cache-Control"] = "no-store"
        return response

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.to_list(request)

    @permission_required("jobs.change_apitoken")
    def revoke_view(self, request: HttpRequest, token_id: int) -> HttpResponse:
        token = self.get_queryset(request).filter(pk=token_id).first()
        if token is None:
            return self.to_list(request, "There is no such token.")
        if request.method != "POST":
            return self.page(
                request, "jobs/revoke.html", title="Revoke this token?", token=token, back=self.url_of("changelist")
            )
        before = token.revoked_at
        revoke_token(actor_of(request), token_id)
        if before is None:
            messages.success(request, "1 token revoked.")
        else:
            messages.warning(request, "0 tokens revoked; 1 not: it was revoked before.")
        return HttpResponseRedirect(self.url_of("changelist"))

    def get_list_display(self, request: HttpRequest) -> list[str]:
        columns = list(super().get_list_display(request))
        return columns if request.user.has_perm("jobs.change_apitoken") else columns[:-1]

    @display(description="Token")
    def name_cell(self, token: ApiToken) -> SafeString:
        return format_html('<span class="sy-two"><strong>{}</strong><code>{}…</code></span>', token.name, token.prefix)

    @display(description="State")
    def state_cell(self, token: ApiToken) -> SafeString:
        if token.revoked_at:
            return show.pill("revoked", "quiet")
        if token.expires_at and token.expires_at <= timezone.now():
            return show.pill("expired", "quiet")
        return show.pill("valid", "good")

    @display(description="Created")
    def created_cell(self, token: ApiToken) -> SafeString | str:
        return show.ago(token.created_at)

    @display(description="Last used")
    def used_cell(self, token: ApiToken) -> SafeString | str:
        return show.ago(token.last_used_at)

    @display(description="Expires")
    def expires_cell(self, token: ApiToken) -> SafeString | str:
        return show.ago(token.expires_at) if token.expires_at else "never"

    @display(description="")
    def revoke_cell(self, token: ApiToken) -> SafeString | str:
        if token.revoked_at:
            return ""
        url = reverse("admin:jobs_apitoken_revoke", args=[token.pk])
        return format_html('<a class="sy-button sy-small" href="{}">Revoke</a>', url)
