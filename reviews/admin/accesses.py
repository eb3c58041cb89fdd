"""How we are known at GitHub: Apps and tokens, whether GitHub takes them, and where Apps are installed."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.filters import note
from jobs.admin.service_pages import Question, line, sentence, spelled
from jobs.admin.settings_form import Group, SettingsForm
from jobs.operators.settings import SettingsRefused
from reviews.admin.common import ReviewsAdmin, page_url
from reviews.models import AccessKind, GitHubAccess, Installation, MissedDelivery
from reviews.operators import accesses
from reviews.services.access_checks import NEEDED, NEEDED_EVENTS, Checked

MOST_INSTALLATIONS = 100
_REMOVE = Question(
    "Remove this access?",
    "Its secrets are deleted with it, and webhooks that are signed with its secret are refused. At GitHub nothing "
    "changes.",
    "Remove",
)
_ENVIRONMENT = Question(
    "Check the environment's token?", "GitHub is asked who GITHUB_TOKEN belongs to, and what it may do.", "Check"
)
_KIND = {"kind": ("Kind", "An App reviews whole organisations; a personal token reviews as one account. It stays.")}
_COMMON = {
    "name": ("Name", "For you, such as the organisation's."),
    "api_url": ("Address of the API", ""),
    "enabled": ("Enabled", ""),
}
_APP = {"client_id": ("Client id", ""), "private_key": ("Private key", "")}
_TOKEN = {"token": ("Token", "")}
_WEBHOOK = {"webhook_secret": ("Webhook secret", "")}


class AccessForm(SettingsForm):
    def __init__(self, row: GitHubAccess, data: Any) -> None:
        is_new = row._state.adding
        groups = [Group("At GitHub", "", _COMMON | _KIND if is_new else _COMMON)]
        if is_new or row.kind == AccessKind.APP:
            groups.append(Group("Of an App", "Both stand on the App's page at GitHub.", _APP))
        if is_new or row.kind == AccessKind.TOKEN:
            groups.append(Group("Of a personal token", "", _TOKEN))
        groups.append(
            Group("Webhook", "It signs what GitHub sends; without it, nothing is taken from there.", _WEBHOOK)
        )
        super().__init__(row, groups, {}, data)

    def given(self) -> dict[str, Any]:
        values = super().given()
        if self.row._state.adding:  # what a kind has no use for is not entered
            values = {name: value for name, value in values.items() if value != "" or name == "name"}
        return values


def webhook_url(request: HttpRequest) -> str:
    path = reverse("github-webhook")
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}" if settings.PUBLIC_URL else request.build_absolute_uri(path)


def access_pill(access: GitHubAccess) -> SafeString:
    if not access.enabled:
        return show.pill("off", "quiet")
    if access.error:
        return show.pill("needs attention", "bad")
    return show.pill("works", "good") if access.checked_at else show.pill("not checked yet", "queued")


def _tell(request: HttpRequest, checked: Checked) -> None:
    who = f", as {checked.login}" if checked.login else ""
    if checked.is_well:
        messages.success(request, f"GitHub takes it{who}.")
        return
    for problem in checked.problems[:10]:
        messages.error(request, sentence(problem))


@admin.register(GitHubAccess)
class GitHubAccessAdmin(ReviewsAdmin):
    noun = "GitHub access"
    sidebar_icon = "key"
    list_display = ("state_cell", "name_cell", "who_cell", "used_cell", "checked_cell")
    list_display_links = None
    list_filter_submit = False
    ordering = ("name",)
    change_list_template = "reviews/access_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[GitHubAccess]:
        secrets = ("private_key", "token", "webhook_secret")
        return accesses.accesses().defer(*secrets).order_by(*self.ordering)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reviews.add_githubaccess")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if request.method == "GET":
            note(request, f"GitHub's webhooks come to {webhook_url(request)}")
            if settings.GITHUB.get("TOKEN"):
                note(request, "Repositories without an access of their own use the environment's GITHUB_TOKEN.")
        may_check = bool(settings.GITHUB.get("TOKEN")) and request.user.has_perm("reviews.change_githubaccess")
        return super().changelist_view(request, {**(extra_context or {}), "may_check": may_check})

    # --- cells ---

    @display(description="State")
    def state_cell(self, access: GitHubAccess) -> SafeString:
        return access_pill(access)

    @display(description="Access")
    def name_cell(self, access: GitHubAccess) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', line(access.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}, {}</span></a>{}</div>',
            page_url("githubaccess", access.pk),
            access.name,
            access.get_kind_display(),
            access.api_url,
            error if access.error else "",
        )

    @display(description="Posts as")
    def who_cell(self, access: GitHubAccess) -> str:
        return access.account_login or show.DASH

    @display(description="Repositories")
    def used_cell(self, access: Any) -> str:
        return f"{access.used_by:,}"

    @display(description="Checked")
    def checked_cell(self, access: GitHubAccess) -> SafeString | str:
        return show.ago(access.checked_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("check-environment/", self.environment_view, "environment"),
            self.own_path("<int:access_id>/edit/", self.edit_view, "edit"),
            self.own_path("<int:access_id>/check/", self.check_view, "check"),
            self.own_path("<int:access_id>/remove/", self.remove_view, "remove"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """An access's page."""
        self.require_view(request)
        row = self.found(accesses.find_access, object_id)
        if row is None:
            return self.missing(request, object_id)
        user = request.user
        installed: list[Installation] = []
        if row.kind == AccessKind.APP and user.has_perm("reviews.view_installation"):
            installed = list(accesses.installations(access=row.name).order_by("account_login")[:MOST_INSTALLATIONS])
        return self.page(
            request,
            "reviews/access.html",
            title=row.name,
            row=row,
            pill=access_pill(row),
            error=spelled(row.error),
            facts=_facts(row),
            installations=[_installation(one) for one in installed],
            webhook_url=webhook_url(request),
            events=NEEDED_EVENTS if row.kind == AccessKind.APP else (),
            permissions=[(name, level, why) for name, (level, why) in NEEDED.items()],
            may_change=user.has_perm("reviews.change_githubaccess"),
            edit_url=page_url("githubaccess", row.pk, "edit"),
            check_url=page_url("githubaccess", row.pk, "check"),
            remove_url=page_url("githubaccess", row.pk, "remove")
            if user.has_perm("reviews.delete_githubaccess")
            else "",
        )

    @permission_required("reviews.add_githubaccess")
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._form(request, GitHubAccess(), "Enter a GitHub access", self.url_of("changelist"))

    @permission_required("reviews.change_githubaccess")
    def edit_view(self, request: HttpRequest, access_id: int) -> HttpResponse:
        row = self.found(accesses.find_access, access_id)
        if row is None:
            return self.missing(request, access_id)
        return self._form(request, row, f"Settings of {row.name}", page_url("githubaccess", row.pk))

    def _form(self, request: HttpRequest, row: GitHubAccess, title: str, back: str) -> HttpResponse:
        form = AccessForm(row, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            actor, given = actor_of(request), form.given()
            try:
                if row._state.adding:
                    row = accesses.create_access(actor, given)
                else:
                    row = accesses.change_access(actor, row.pk, given)
            except SettingsRefused as exc:
                form.refuse(exc)
            else:
                text = f"{row.name} is saved; check it now." if given else "Nothing was changed."
                messages.success(request, text)
                return self.back_to(request, page_url("githubaccess", row.pk))
        note = f"The webhook's address, to enter at GitHub: {webhook_url(request)}"
        return self.form_page(request, title, form, back, note=note)

    @permission_required("reviews.change_githubaccess")
    def check_view(self, request: HttpRequest, access_id: int) -> HttpResponse:
        """Ask GitHub; on POST alone."""
        row = self.found(accesses.find_access, access_id)
        if row is None:
            return self.missing(request, access_id)
        if request.method == "POST":
            checked = self.do(request, lambda: accesses.check_access(actor_of(request), row.pk))
            if checked is not None:
                _tell(request, checked)
        return self.back_to(request, page_url("githubaccess", row.pk))

    @permission_required("reviews.change_githubaccess")
    def environment_view(self, request: HttpRequest) -> HttpResponse:
        back = self.url_of("changelist")
        if request.method != "POST":
            return self.ask(request, _ENVIRONMENT, "GITHUB_TOKEN", back)
        checked = self.do(request, lambda: accesses.check_access(actor_of(request), None))
        if checked is not None:
            _tell(request, checked)
        return self.back_to(request, back)

    @permission_required("reviews.delete_githubaccess")
    def remove_view(self, request: HttpRequest, access_id: int) -> HttpResponse:
        row = self.found(accesses.find_access, access_id)
        if row is None:
            return self.missing(request, access_id)
        back = page_url("githubaccess", row.pk)
        if request.method != "POST":
            return self.ask(request, _REMOVE, row.name, back)
        try:
            accesses.delete_access(actor_of(request), row.pk)
        except SettingsRefused as exc:
            messages.error(request, sentence("; ".join(exc.errors.values())))
            return self.back_to(request, back)
        return self.gone(request, f"{row.name} is removed.")


def _facts(row: GitHubAccess) -> list[tuple[str, Any]]:
    missed = MissedDelivery.objects.filter(access=row)[:1000].count()
    is_app = row.kind == AccessKind.APP
    facts: list[tuple[str, Any]] = [
        ("Kind", row.get_kind_display()),
        ("Address", row.api_url),
        ("Client id", row.client_id),
        ("App", f"{row.app_slug} ({row.app_id})" if row.app_slug else ""),
        ("Posts as", row.account_login or "GitHub tells when it is checked"),
        ("Private key" if is_app else "Token", "set" if (row.private_key if is_app else row.token) else "not set"),
        ("Webhook secret", "set" if row.webhook_secret else "not set: no webhook of it is taken"),
        ("Repositories", f"{getattr(row, 'used_by', 0):,}"),
        ("Missed deliveries", f"{missed:,}, asked for again" if missed else ""),
        ("Checked", show.exact(row.checked_at) if row.checked_at else "not yet"),
        ("Entered", show.exact(row.created_at)),
    ]
    return [(name, value) for name, value in facts if value]


def _installation(one: Any) -> dict[str, Any]:
    if one.removed_at is not None:
        pill = show.pill("removed", "quiet")
    else:
        pill = show.pill("suspended", "bad") if one.suspended_at else show.pill("installed", "good")
    held = ", ".join(f"{name}: {level}" for name, level in sorted(one.permissions.items()))
    return {"row": one, "pill": pill, "permissions": line(held, 400), "since": show.ago(one.created_at)}
