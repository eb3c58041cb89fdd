"""Projects: who is in them, and how much is open."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of
from jobs.admin.filters import FixedFilter
from jobs.admin.row_pages import RowAdmin
from jobs.admin.service_pages import Question, line, link
from jobs.operators.actors import Actor
from reminders.admin.common import Entry, PersonFilter, RemindersAdmin, TextForm, page_url
from reminders.models import Project
from reminders.operators import projects as operators

_DEEDS = {"delete": Question("Delete this project?", "Its tasks stay, without a project.", "Delete")}
_FIELDS = {
    "name": Entry("Name"),
    "members": Entry("Members", "Account names, separated by commas; they see and change all of its tasks.", "names"),
    "archived": Entry("Archived", "Put away; its tasks stay.", "switch"),
}


class ArchivedFilter(FixedFilter):
    title = "archived"
    parameter_name = "archived"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "in use"), ("yes", "archived")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(archived_at__isnull=value == "no")


class MemberFilter(PersonFilter):
    title = "member"
    parameter_name = "member"
    column = "members"


@admin.register(Project)
class ProjectAdmin(RowAdmin, RemindersAdmin):
    noun = "project"
    add_title = "Make a project"
    may_add, may_edit, may_do = "reminders.add_project", "reminders.change_project", "reminders.delete_project"
    questions = _DEEDS
    sidebar_icon = "folder_shared"
    list_display = ("name_cell", "members_cell", "open_cell", "state_cell", "created_cell")
    list_display_links = None
    list_filter = (ArchivedFilter, MemberFilter)
    search_fields = ("name",)
    search_help_text = "A part of the name"
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        return operators.projects(actor_of(request)).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Project], search_term: str
    ) -> tuple[QuerySet[Project], bool]:
        found = operators.projects(actor_of(request), search=search_term.strip())
        return queryset.filter(pk__in=found.values("pk")), False

    @display(description="Project")
    def name_cell(self, project: Project) -> SafeString:
        return link(page_url("project", project.pk), line(project.name, 60))

    @display(description="Members")
    def members_cell(self, project: Project) -> str:
        names = _members(project)
        return line(", ".join(names[:5]) + (" …" if len(names) > 5 else ""), 80) or show.DASH

    @display(description="Open tasks")
    def open_cell(self, project: Any) -> SafeString:
        return link(_tasks_url(project), f"{project.open_todos:,}")

    @display(description="State")
    def state_cell(self, project: Project) -> SafeString:
        return show.pill("archived", "quiet") if project.archived_at else show.pill("in use", "good")

    @display(description="Made")
    def created_cell(self, project: Project) -> SafeString | str:
        return show.ago(project.created_at)

    # --- its page, form and deeds ---

    def find(self, actor: Actor, number: int) -> Any:
        return operators.find_project(actor, number)

    def title_of(self, row: Project) -> str:
        return row.name

    def shown(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        buttons = []
        if request.user.has_perm(self.may_edit):
            buttons.append(("Edit", self.url_of("edit", row.pk)))
        if request.user.has_perm(self.may_do):
            buttons.append(("Delete", self.url_of("deed", row.pk, "delete")))
        facts = [
            ("Members", ", ".join(_members(row)) or show.DASH),
            ("Open tasks", link(_tasks_url(row), f"{row.open_todos:,}")),
            ("Made", show.exact(row.created_at)),
        ]
        return {"pill": self.state_cell(row), "facts": facts, "buttons": buttons}

    def form_of(self, request: HttpRequest, row: Project | None, data: Any) -> TextForm:
        stored: dict[str, Any] = {"archived": False}
        if row is not None:
            stored = {"name": row.name, "members": _members(row), "archived": row.archived_at is not None}
        return TextForm({"Project": _FIELDS}, stored, data)

    def save(self, request: HttpRequest, row: Project | None, form: TextForm) -> HttpResponse:
        actor, given = actor_of(request), form.given()
        if row is None:
            row = operators.create_project(actor, {"name": "", **given})
        else:
            row = operators.change_project(actor, row.pk, given)
        return self.saved(request, row, "It is saved." if given else "Nothing was changed.")

    def act(self, request: HttpRequest, row: Project, deed: str) -> HttpResponse | None:
        if self.did(request, lambda: operators.delete_project(actor_of(request), row.pk)):
            return self.gone(request, f"{show.one_line(row.name, 60)} is deleted.")
        return None


def _members(project: Project) -> list[str]:
    return sorted(user.get_username() for user in project.members.all())


def _tasks_url(project: Project) -> str:
    query = urlencode({"project": project.name, "state": "open"})
    return f"{reverse('admin:reminders_todo_changelist')}?{query}"
