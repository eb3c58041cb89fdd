"""One task: added, looked at, changed, deleted."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs.operators.settings import SettingsRefused
from reminders.models import Todo
from reminders.operators import access, todos
from reminders.services import explaining
from reminders.services.todos import TodoRefused
from reminders.web import files, history
from reminders.web.frame import actor_of, back, page, zone_name
from reminders.web.list_views import list_page
from reminders.web.todo_forms import QuickForm, RuleForm, SnoozeForm, TodoForm, initial_of

FORM = require_http_methods(["GET", "HEAD", "POST"])


@page
@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """The quick line."""
    form = QuickForm(request.POST)
    todo = create(request, form)
    if todo is None:
        return list_page(request, form, status=422)
    return redirect("pages:todos")


@page
@FORM
def new(request: HttpRequest) -> HttpResponse:
    """The whole form, with what the quick line had in it."""
    zone = zone_name()
    if request.method == "POST":
        form = TodoForm(request.POST, user=request.user, zone=zone)
        todo = create(request, form)
        if todo is not None:
            return redirect("pages:todo", todo.pk)
    else:
        form = TodoForm(initial=_first(request.GET, zone), user=request.user, zone=zone)
    status = 422 if form.is_bound else 200
    return render(request, "reminders/pages/todo_form.html", {"form": form, "clock": zone}, status=status)


def _first(query: Mapping[str, str], zone: str) -> dict[str, Any]:
    """What the form shows at first; of what came along, that which can be meant."""
    shown: dict[str, Any] = {"time_zone": zone, "key": uuid.uuid4(), "repeat_from": "due", "overdue_reminders": True}
    quick = QuickForm({name: query.get(name, "") for name in ("title", "due_date", "due_time")})
    quick.is_valid()
    return shown | {name: value for name, value in quick.cleaned_data.items() if value and name != "key"}


def create(request: HttpRequest, form: QuickForm) -> Todo | None:
    """The task of a form; None if it is refused, which the form then tells. Sent twice, it is one task."""
    if not form.is_valid():
        return None
    uid = form.uid(int(request.user.pk or 0))
    todo: Todo | None
    try:
        todo = _twin(request, uid) or todos.create_todo(actor_of(request), form.given(), uid=uid)
    except IntegrityError:  # the same form, sent at the same time
        todo = _twin(request, uid)
    except SettingsRefused as exc:
        form.refused(exc)
        return None
    except TodoRefused as exc:
        form.add_error(None, str(exc))
        return None
    if todo is not None:
        messages.success(request, _told("Added:", todo))
    return todo


def _twin(request: HttpRequest, uid: str) -> Todo | None:
    return Todo.objects.defer("search").filter(creator=request.user.pk, uid=uid).first()


def _told(word: str, todo: Todo) -> SafeString:
    return format_html('{} <a href="{}"><bdi>{}</bdi></a>', word, reverse("pages:todo", args=[todo.pk]), todo.title)


@page
@require_safe
def show(request: HttpRequest, todo_id: int) -> HttpResponse:
    return detail_page(request, todo_id)


def detail_page(
    request: HttpRequest, todo_id: int, *, snooze: SnoozeForm | None = None, rule: RuleForm | None = None
) -> HttpResponse:
    """The task's page, with forms as they were filled in."""
    actor = actor_of(request)
    todo = todos.find_todo(actor, todo_id)
    context = {
        **history.of(actor, todo),
        "todo": todo,
        "clock": zone_name(),
        "path": reverse("pages:todo", args=[todo.pk]),
        "may_change": access.may_do(actor, todo, "change"),
        "may_delete": access.may_do(actor, todo, "delete"),
        "snooze": snooze or SnoozeForm(prefix="snooze"),
        "rule_form": rule or RuleForm(prefix="rule"),
        "files": files.of(actor, todo),
    }
    status = 422 if snooze or rule else 200
    return render(request, "reminders/pages/todo.html", context, status=status)


@page
@FORM
def edit(request: HttpRequest, todo_id: int) -> HttpResponse:
    actor = actor_of(request)
    access.require_todo(actor, todo_id, "change")
    todo = todos.find_todo(actor, todo_id)
    given = request.POST if request.method == "POST" else None
    form = TodoForm(given, initial=initial_of(todo), user=request.user, zone=zone_name(), todo=todo)
    if form.is_bound and form.is_valid():
        try:
            todos.change_todo(actor, todo_id, form.changed())
        except SettingsRefused as exc:
            form.refused(exc)
        except TodoRefused as exc:
            form.add_error(None, str(exc))
        else:
            messages.success(request, "Saved.")
            seen = access.visible_todos(actor).filter(pk=todo_id).exists()
            return redirect("pages:todo", todo_id) if seen else redirect("pages:todos")
    status = 422 if form.is_bound else 200
    context = {"form": form, "todo": todo, "clock": zone_name()}
    return render(request, "reminders/pages/todo_form.html", context, status=status)


@page
@FORM
def delete(request: HttpRequest, todo_id: int) -> HttpResponse:
    """Asked first; it cannot be taken back."""
    actor = actor_of(request)
    todo = access.require_todo(actor, todo_id, "delete")
    if request.method == "POST":
        todos.delete_todo(actor, todo_id)
        messages.success(request, f"Deleted: {todo.title}")
        return back(request, "pages:todos")
    return render(request, "reminders/pages/delete.html", {"todo": todo, "clock": zone_name()})


@page
@require_safe
def why(request: HttpRequest, todo_id: int) -> HttpResponse:
    """Every reminder of the task for oneself: what it waits for, and what became of it."""
    actor = actor_of(request)
    todo = todos.find_todo(actor, todo_id)
    context = {"todo": todo, "clock": zone_name(), "told": explaining.explain(todo, request.user)}
    return render(request, "reminders/pages/why.html", context)
