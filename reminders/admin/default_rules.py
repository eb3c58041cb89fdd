"""Default rules: how people are reminded of tasks that have no rules of their own."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of
from jobs.admin.filters import FixedFilter
from jobs.admin.row_pages import RowAdmin
from jobs.admin.service_pages import Question, line
from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused
from reminders.admin.common import Entry, RemindersAdmin, TextForm, UserFilter, page_url, todo_link
from reminders.admin.todo_forms import RULE_WHEN
from reminders.models import Anchor, DefaultRule
from reminders.operators import people, rules
from reminders.wording import rule_words

CHANGE = "reminders.change_preferences"
MOST_AHEAD = 20
_DEEDS = {
    "enable": Question("Try this rule again?", "It was set aside as it failed; the plan follows at once.", "Try it"),
    "delete": Question("Delete this rule?", "What is planned by it goes with it; what was sent stays known.", "Delete"),
}
_WHOSE = {"person": Entry("Person", "Who is reminded by it: an account's name.")}


class PersonFilter(UserFilter):
    title = "person"
    parameter_name = "person"
    column = "person"


class AsideFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("used", "used"), ("aside", "set aside")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(set_aside_at__isnull=value == "used")


class AnchorFilter(FixedFilter):
    title = "counted from"
    parameter_name = "anchor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(Anchor.DUE.value, "when it is due"), (Anchor.START.value, "when it starts")]


@admin.register(DefaultRule)
class DefaultRuleAdmin(RowAdmin, RemindersAdmin):
    noun = "default rule"
    add_title = "Add a default rule"
    may_add = may_edit = may_do = CHANGE
    questions = _DEEDS
    sidebar_icon = "edit_notifications"
    list_display = ("state_cell", "rule_cell", "person_cell", "why_cell", "created_cell")
    list_display_links = None
    list_filter = (AsideFilter, AnchorFilter, PersonFilter)
    search_fields = ("person__username",)
    search_help_text = "The beginning of an account's name"
    ordering = ("-id",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("reminders.view_reminderrule") or request.user.has_perm(CHANGE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DefaultRule]:
        return rules.default_rules_of_all(actor_of(request)).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DefaultRule], search_term: str
    ) -> tuple[QuerySet[DefaultRule], bool]:
        found = rules.default_rules_of_all(actor_of(request), search=search_term)
        return queryset.filter(pk__in=found.values("pk")) if search_term.strip() else queryset, False

    # --- cells ---

    @display(description="State")
    def state_cell(self, row: DefaultRule) -> SafeString:
        return show.pill("set aside", "bad") if row.set_aside_at is not None else show.pill("used", "good")

    @display(description="Reminds")
    def rule_cell(self, row: DefaultRule) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong>{}</strong><span class="sy-about">{}</span></a>',
            page_url("defaultrule", row.pk),
            rule_words(row),
            row.offset,
        )

    @display(description="Person")
    def person_cell(self, row: DefaultRule) -> str:
        return line(str(row.person), 60)

    @display(description="Why")
    def why_cell(self, row: DefaultRule) -> str:
        return line(row.set_aside_because, 90) or show.DASH

    @display(description="Added")
    def created_cell(self, row: DefaultRule) -> SafeString | str:
        return show.ago(row.created_at)

    # --- its page, form and deeds ---

    def find(self, actor: Actor, number: int) -> DefaultRule:
        return rules.default_rules_of_all(actor).get(pk=number)

    def title_of(self, row: DefaultRule) -> str:
        return f"{row.person}, {rule_words(row)}"

    def shown(self, request: HttpRequest, row: DefaultRule) -> dict[str, Any]:
        """The rule, and what comes of it next."""
        sees_plan = request.user.has_perms(["reminders.view_todo", "reminders.view_preferences"])
        return {
            "pill": self.state_cell(row),
            "error": line(row.set_aside_because, 1000),
            "facts": _facts(row),
            "buttons": self._buttons(row) if request.user.has_perm(CHANGE) else [],
            "ahead": _ahead(request, row) if sees_plan else [],
            "shows_ahead": sees_plan,
        }

    def _buttons(self, row: DefaultRule) -> list[tuple[str, str]]:
        deeds = [("Try it again", "enable")] if row.set_aside_at is not None else []
        urls = [(label, self.url_of("deed", row.pk, deed)) for label, deed in (*deeds, ("Delete", "delete"))]
        return [("Edit", self.url_of("edit", row.pk)), *urls]

    def form_of(self, request: HttpRequest, row: DefaultRule | None, data: Any) -> TextForm:
        if row is not None:
            return TextForm({"When": RULE_WHEN}, {"offset": row.offset, "anchor": row.anchor}, data)
        stored = {"person": request.GET.get("user", "")[:150], "anchor": Anchor.DUE.value}
        return TextForm({"Whose": _WHOSE, "When": RULE_WHEN}, stored, data)

    def save(self, request: HttpRequest, row: DefaultRule | None, form: TextForm) -> HttpResponse:
        actor, given = actor_of(request), form.given()
        if row is not None:
            rules.change_rule(actor, row.pk, given)
            said = f"It is saved; the tasks of {row.person} are planned anew." if given else "Nothing was changed."
            return self.saved(request, row, said)
        person = form.cleaned_data["person"].strip()
        try:
            # The service would take an empty one for the operator.
            made = rules.add_default_rule(
                actor, {name: form.cleaned_data[name] for name in RULE_WHEN}, person or _nobody()
            )
        except NotHere as exc:
            raise SettingsRefused({"person": str(exc)}) from None
        return self.saved(request, made, f"It is added; the tasks of {made.person} are planned anew.")

    def act(self, request: HttpRequest, row: DefaultRule, deed: str) -> HttpResponse | None:
        actor = actor_of(request)
        verb: Any = rules.enable_rule if deed == "enable" else rules.delete_rule
        if not self.did(request, lambda: verb(actor, row.pk)):
            return None
        if deed == "enable":
            messages.success(request, "It is tried again.")
            return None
        return self.gone(request, f"It is deleted; the tasks of {row.person} are planned anew.")


def _nobody() -> str:
    raise NotHere("name an account")


def _facts(row: DefaultRule) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        ("Person", str(row.person)),
        ("Reminds", rule_words(row)),
        ("Offset", row.offset),
        ("Counts for", "tasks that are assigned to them and have no rules of their own"),
        ("Set aside", show.exact(row.set_aside_at) if row.set_aside_at else ""),
        ("Added", show.exact(row.created_at)),
    ]
    return [(label, value) for label, value in facts if value]


def _ahead(request: HttpRequest, row: DefaultRule) -> list[tuple[Any, ...]]:
    coming = people.upcoming(actor_of(request), str(row.person), people.MOST_AHEAD)
    of_rule = [one for one in coming if one.planned.rule_id == row.pk][:MOST_AHEAD]
    return [(one.local, todo_link(one.planned.todo), one.what, one.why) for one in of_rule]
