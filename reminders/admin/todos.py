"""Tasks: the list, a task with its people, rules, plan and what was sent, and the deeds."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.row_pages import RowAdmin
from jobs.admin.service_pages import Question, counted, line
from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused
from reminders import moment
from reminders.admin.common import PRIORITIES, RemindersAdmin, page_url, todo_pill
from reminders.admin.todo_filters import AssigneeFilter, DueFilter, PriorityFilter, ProjectFilter, TodoStateFilter
from reminders.admin.todo_forms import RuleForm, TodoForm
from reminders.admin.todo_page import task_page
from reminders.models import ReminderRule, Todo
from reminders.operators import explaining, rules
from reminders.operators import todos as operators
from reminders.operators.times import due_text
from reminders.operators.todo_values import PRIORITY_WORDS
from reminders.services.planning import default_preferences
from reminders.wording import rule_words, skipped_words

CHANGE = "reminders.change_todo"
_DEEDS = {
    "complete": Question(
        "Is it done?", "Nobody is reminded of it any more; one that repeats makes its successor.", "Done"
    ),
    "cancel": Question(
        "Give it up?", "It is closed, and not done; nobody is reminded, and nothing follows it.", "Give up"
    ),
    "reopen": Question(
        "Open it again?",
        "Of its reminders, those are planned that lie ahead; what waited when it was closed waits again.",
        "Reopen",
    ),
}
_DELETE = Question("Delete this task?", "Its rules, what fired and its files are deleted with it.", "Delete")


@admin.register(Todo)
class TodoAdmin(RowAdmin, RemindersAdmin):
    noun = "task"
    add_title = "Add a task"
    may_add, may_edit, may_do = "reminders.add_todo", CHANGE, CHANGE
    row_template = "reminders/admin/todo.html"
    questions = _DEEDS
    sidebar_icon = "checklist"
    list_display = ("state_cell", "task_cell", "due_cell", "priority_cell", "people_cell", "project_cell")
    list_display_links = None
    list_filter = (TodoStateFilter, AssigneeFilter, ProjectFilter, PriorityFilter, DueFilter)
    search_fields = ("search",)
    search_help_text = 'Words of title and notes; "a phrase", -without'
    ordering = ("-created_at", "-id")
    actions = ("complete_selected", "snooze_selected", "delete_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Todo]:
        return operators.todos(actor_of(request)).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Todo], search_term: str
    ) -> tuple[QuerySet[Todo], bool]:
        return operators.with_words(queryset, search_term), False

    # --- cells ---

    @display(description="State")
    def state_cell(self, todo: Todo) -> SafeString:
        return todo_pill(todo, todo.due_at is not None and todo.due_at <= moment.now())

    @display(description="Task")
    def task_cell(self, todo: Todo) -> SafeString:
        about = ", ".join(todo.tags[:5]) or f"task {todo.pk}"
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}</span></a></div>',
            page_url("todo", todo.pk),
            line(todo.title, 90),
            line(about, 60),
        )

    @display(description="Due")
    def due_cell(self, todo: Todo) -> SafeString | str:
        return show.time_element(todo.due_at, due_text(todo)) if todo.due_at else show.DASH

    @display(description="Priority")
    def priority_cell(self, todo: Todo) -> SafeString | str:
        kind = PRIORITIES[todo.priority]
        return show.pill(PRIORITY_WORDS[todo.priority], kind) if kind else show.DASH

    @display(description="For")
    def people_cell(self, todo: Todo) -> str:
        names = sorted(user.get_username() for user in todo.assignees.all())
        if not names and todo.creator is not None:
            names = [todo.creator.get_username()]
        return line(", ".join(names[:4]) + (" …" if len(names) > 4 else ""), 60) or show.DASH

    @display(description="Project")
    def project_cell(self, todo: Todo) -> str:
        return line(todo.project.name, 40) if todo.project is not None else show.DASH

    # --- several ---

    def has_deed_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CHANGE)

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reminders.delete_todo")

    @admin.action(description="Done", permissions=["deed"])
    def complete_selected(self, request: HttpRequest, queryset: QuerySet[Todo]) -> None:
        outcome = operators.complete_each(actor_of(request), self.ticked(request))
        self.tell(request, f"{counted(len(outcome.done), 'task')} done", outcome.skipped)

    @admin.action(description="Snooze", permissions=["deed"])
    def snooze_selected(self, request: HttpRequest, queryset: QuerySet[Todo]) -> HttpResponse | None:
        ids, until = self.ticked(request), request.POST.get("until")
        if until is not None:
            outcome = self.do(request, lambda: operators.snooze_each(actor_of(request), ids, until.strip()))
            if outcome is not None:
                self.tell(request, f"{counted(len(outcome.done), 'task')} snoozed", outcome.skipped)
                return None
        chosen = list(operators.todos(actor_of(request)).filter(pk__in=ids).order_by(*self.ordering)[:100])
        return self._ask_until(request, "snooze_selected", chosen, request.get_full_path(), until or "")

    @admin.action(description="Delete", permissions=["remove"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Todo]) -> HttpResponse | None:
        ids = self.ticked(request)
        if request.POST.get("sure") == "yes":
            outcome = operators.delete_each(actor_of(request), ids)
            self.tell(request, f"{counted(len(outcome.done), 'task')} deleted", outcome.skipped)
            return None
        chosen = list(operators.todos(actor_of(request)).filter(pk__in=ids).order_by(*self.ordering)[:100])
        return self.page(
            request,
            "reminders/admin/todos_deed.html",
            title=f"Delete {counted(len(ids), 'task')}?",
            explanation="Their rules, what fired and their files are deleted with them.",
            action="delete_selected",
            label="Delete",
            todos=chosen,
            ids=ids,
            back=request.get_full_path(),
        )

    def _ask_until(self, request: HttpRequest, action: str, chosen: list[Todo], back: str, until: str) -> HttpResponse:
        return self.page(
            request,
            "reminders/admin/todos_deed.html",
            title=f"Snooze {counted(len(chosen), 'task')}",
            explanation="Whoever is responsible is reminded again then, and of nothing before.",
            action=action,
            label="Snooze",
            asks_until=True,
            until=until or "P1D",
            todos=chosen,
            ids=[todo.pk for todo in chosen],
            back=back,
        )

    # --- its page, form and deeds ---

    def find(self, actor: Actor, number: int) -> Todo:
        return operators.find_todo(actor, number)

    def title_of(self, row: Todo) -> str:
        return row.title

    def shown(self, request: HttpRequest, row: Todo) -> dict[str, Any]:
        return task_page(request, row)

    def form_of(self, request: HttpRequest, row: Todo | None, data: Any) -> TodoForm:
        return TodoForm(row, default_preferences(None).time_zone, data)

    def save(self, request: HttpRequest, row: Todo | None, form: TodoForm) -> HttpResponse:
        actor, given = actor_of(request), form.given()
        if row is None:
            row = operators.create_todo(actor, {"title": form.cleaned_data["title"], **given})
        else:
            row = operators.change_todo(actor, row.pk, given)
        return self.saved(request, row, "It is saved." if given else "Nothing was changed.")

    def act(self, request: HttpRequest, row: Todo, deed: str) -> HttpResponse | None:
        actor = actor_of(request)
        verbs: dict[str, Any] = {
            "complete": operators.complete_todo,
            "cancel": operators.cancel_todo,
            "reopen": operators.reopen_todo,
        }
        done = self.do(request, lambda: verbs[deed](actor, row.pk))
        successor = getattr(done, "successor", None)
        if successor is not None:
            messages.success(request, f"It is done; task {successor.pk} follows it.")
        skipped = getattr(done, "skipped", 0)
        if skipped:
            messages.info(request, f"Its series goes on from now: {skipped_words(skipped)}.")
        return None

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:todo_id>/snooze/", self.snooze_view, "snooze"),
            self.own_path("<int:todo_id>/remove/", self.remove_view, "remove"),
            self.own_path("<int:todo_id>/rules/add/", self.rule_view, "rule"),
            self.own_path("<int:todo_id>/rules/<int:rule_id>/edit/", self.rule_edit_view, "rule_edit"),
            self.own_path("<int:todo_id>/rules/<int:rule_id>/<str:deed>/", self.rule_deed_view, "rule_deed"),
            self.own_path("<int:todo_id>/explain/", self.explain_view, "explain"),
        ]
        return [*own, *super().get_urls()]

    @permission_required(CHANGE)
    def snooze_view(self, request: HttpRequest, todo_id: int) -> HttpResponse:
        todo = self.one(request, todo_id)
        if todo is None:
            return self.missing(request, todo_id)
        back, until = page_url("todo", todo.pk), request.POST.get("until", "")
        if request.method == "POST":
            snoozed = self.do(request, lambda: operators.snooze_todo(actor_of(request), todo.pk, until.strip()))
            if snoozed is not None:
                messages.success(
                    request, f"{', '.join(snoozed.people)} will be reminded on {snoozed.until:%Y-%m-%d %H:%M} UTC."
                )
                return self.back_to(request, back)
        return self._ask_until(request, "", [todo], back, until)

    @permission_required("reminders.delete_todo")
    def remove_view(self, request: HttpRequest, todo_id: int) -> HttpResponse:
        todo = self.one(request, todo_id)
        if todo is None:
            return self.missing(request, todo_id)
        if request.method != "POST":
            return self.ask(request, _DELETE, todo.title, page_url("todo", todo.pk))
        if self.did(request, lambda: operators.delete_todo(actor_of(request), todo.pk)):
            return self.gone(request, f"{show.one_line(todo.title, 60)} is deleted.")
        return self.back_to(request, page_url("todo", todo.pk))

    @permission_required(CHANGE)
    def rule_view(self, request: HttpRequest, todo_id: int) -> HttpResponse:
        todo = self.one(request, todo_id)
        if todo is None:
            return self.missing(request, todo_id)
        return self._rule_form(request, todo, None)

    @permission_required(CHANGE)
    def rule_edit_view(self, request: HttpRequest, todo_id: int, rule_id: int) -> HttpResponse:
        todo = self.one(request, todo_id)
        if todo is None:
            return self.missing(request, todo_id)
        rule = self.found(lambda number: rules.rules_of_todo(actor_of(request), todo.pk).get(pk=number), rule_id)
        if rule is None:
            messages.error(request, f"The task has no rule {str(rule_id)[:40]!r}; it may have been deleted.")
            return self.back_to(request, page_url("todo", todo.pk))
        return self._rule_form(request, todo, rule)

    def _rule_form(self, request: HttpRequest, todo: Todo, rule: ReminderRule | None) -> HttpResponse:
        form, back = RuleForm(rule, request.POST if request.method == "POST" else None), page_url("todo", todo.pk)
        if request.method == "POST" and form.is_valid():
            actor, given = actor_of(request), form.given()
            try:
                if rule is None:
                    rules.add_rule(actor, todo.pk, given)
                else:
                    rules.change_rule(actor, rule.pk, given)
            except SettingsRefused as exc:
                form.refuse(exc)
            else:
                changed = "The rule is saved; the task is planned anew." if given else "Nothing was changed."
                return self.saved(request, todo, "The rule is added." if rule is None else changed)
        of = show.one_line(todo.title, 60)
        title = f"Remind of {of}" if rule is None else f"Edit the rule {rule_words(rule)}, of {of}"
        return self.form_page(request, title, form, back)

    @permission_required(CHANGE)
    def rule_deed_view(self, request: HttpRequest, todo_id: int, rule_id: int, deed: str) -> HttpResponse:
        """Delete a rule, or try one again that was set aside; on POST alone."""
        if request.method == "POST" and deed in ("delete", "enable"):
            verb: Any = rules.delete_rule if deed == "delete" else rules.enable_rule
            self.do(request, lambda: verb(actor_of(request), rule_id))
        return self.back_to(request, page_url("todo", todo_id))

    @permission_required("reminders.view_reminder")
    def explain_view(self, request: HttpRequest, todo_id: int) -> HttpResponse:
        """Why somebody was or was not reminded."""
        todo = self.one(request, todo_id)
        if todo is None:
            return self.missing(request, todo_id)
        user = request.GET.get("user", "")[:150]
        told = self.do(request, lambda: explaining.explain_todo(actor_of(request), todo.pk, user)) if user else None
        people = sorted({user.get_username() for user in (*todo.assignees.all(), *todo.watchers.all())})
        if todo.creator is not None:
            people = list(dict.fromkeys([todo.creator.get_username(), *people]))
        return self.page(
            request,
            "reminders/admin/explain.html",
            title="Why did or didn't they get it?",
            todo=todo,
            told=told,
            account=user,
            people=people,
            back=page_url("todo", todo.pk),
        )
