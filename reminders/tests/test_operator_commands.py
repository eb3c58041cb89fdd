"""manage.py todos, projects and reminders: what they print, refuse, and end with."""

import shlex
from datetime import date, time
from typing import Any

import pytest
from django.core.management import load_command_class

from jobs.models import AuditEntry
from reminders.models import Channel, Preferences, Project, ReminderDelivery, Suppression
from reminders.tests.commanding import data, refused, run
from reminders.tests.factories import person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}


def test_a_task_from_beginning_to_end(clock: Any) -> None:
    person("anna", time_zone="Europe/Berlin")
    person("bob")
    made = data(
        *("todos", "add", "Water", "--creator", "anna", "--due", "2026-03-02T09:00", "--remind=-PT1H", "--tag", "home")
    )
    number = str(made["id"])
    assert (made["creator"], made["due_at"], made["tags"]) == ("anna", "2026-03-02T08:00:00Z", ["home"])
    data("todos", "change", number, "--assign", "bob", "--priority", "high", "--set", "overdue_reminders=false")
    shown = data("todos", "show", number)
    assert (shown["assignees"], shown["priority"], shown["overdue_reminders"]) == (["bob"], "high", False)
    assert data("todos", "rules", number, "add", "--at", "2026-03-01T18:00")[1]["words"].startswith("on 1 Mar 2026")
    rule = data("todos", "rules", number)[0]["id"]
    assert len(data("todos", "rules", number, "delete", "--rule", str(rule))) == 1
    assert data("todos", "snooze", number, "P1D", "--for", "anna")["people"] == ["anna"]
    assert "Water" in run("todos", "list", "--assignee", "bob", "--state", "open")
    assert run("todos", "done", number) == f"task {number} is done\n"
    assert run("todos", "reopen", number) == f"task {number} is open\n"
    cancelled = {"id": made["id"], "state": "cancelled", "successor": None, "skipped": 0}
    assert data("todos", "cancel", number) == [cancelled]
    assert run("todos", "delete", number) == f"task {number} is deleted\n"
    assert set(AuditEntry.objects.values_list("via", flat=True)) == {"command"}


def test_tasks_refuse_bad_use_with_2_and_what_cannot_be_now_with_1(clock: Any) -> None:
    row = todo(person("anna"), **DUE)
    number = str(row.pk)
    assert refused("todos", "show", "999999") == (2, "there is no task 999999")
    assert refused("todos", "add", "x", "--due", "tomorrow")[0] == 2
    assert "due_date: is 'tomorrow'; it takes a date" in refused("todos", "add", "x", "--due", "tomorrow")[1]
    assert "there is no open account 'nobody'" in refused("todos", "add", "x", "--creator", "nobody")[1]
    assert refused("todos", "change", number)[0] == 2
    assert "unknown setting" in refused("todos", "change", number, "--set", "colour=red")[1]
    assert refused("todos", "snooze", number, "soon")[0] == 2
    assert refused("todos", "list", "--due-after", "soon")[0] == 2
    assert refused("todos", "list", "--limit", "0")[0] == 2
    assert refused("todos", "rules", number, "delete") == (
        2,
        f"--rule is missing; todos rules {number} list shows their ids",
    )
    run("todos", "done", number)
    assert refused("todos", "cancel", number) == (1, f"task {number} is done already; reopen it first")
    assert refused("todos", "snooze", number, "PT1H")[0] == 1


def test_projects(clock: Any) -> None:
    person("anna")
    assert data("projects", "add", "House", "--member", "anna")["members"] == ["anna"]
    assert data("projects", "set", "House", "--name", "Home", "--member", "")["name"] == "Home"
    assert data("projects", "archive", "Home")["archived_at"]
    assert [row["name"] for row in data("projects", "list", "--archived")] == ["Home"]
    assert data("projects", "restore", "Home")["archived_at"] is None
    assert refused("projects", "show", "House") == (2, "there is no project 'House'; see the list of projects")
    assert refused("projects", "add", "Home") == (2, "name: 'Home' is taken; choose another name")
    assert run("projects", "delete", "Home") == "Home is deleted\n"
    assert not Project.objects.exists()


def test_send_list_explain_and_retry(clock: Any) -> None:
    anna = person("anna", time_zone="Europe/Berlin")
    row = todo(anna, title="Water", **DUE)
    clock("2026-03-02 09:00")
    assert run("reminders", "send").startswith("1 fired, 0 held, 0 not sent, 0 too late; 1 deliveries, 1 jobs sent")
    assert data("reminders", "send")["fired"] == 0
    assert data("reminders", "list", "--recipient", "anna", "--kind", "overdue")[0]["todo"] == row.pk
    delivery = data("reminders", "deliveries", "--state", "pending", "--todo", str(row.pk))[0]
    text = run("reminders", "explain", str(row.pk), "anna")
    assert text.startswith(f"Task {row.pk}, “Water”, for anna (Europe/Berlin)\n")
    assert "* Overdue: when it is due\n    It fired on 2026-03-02 10:00 Europe/Berlin (09:00 UTC)." in text
    assert "- Overdue: three days later\n    It is for those who watch the task, which anna is not." in text
    assert "The last scan for due reminders succeeded on" in text
    assert data("reminders", "explain", str(row.pk), "anna")["todo"] == row.pk
    assert refused("reminders", "explain", str(row.pk), "nobody") == (2, "there is no open account 'nobody'")
    assert refused("reminders", "explain", "999999", "anna")[0] == 2
    assert refused("reminders", "retry", str(delivery["id"]))[0] == 1
    ReminderDelivery.objects.update(state="failed", error="550")
    assert "is sent again by job" in run("reminders", "retry", str(delivery["id"]))
    assert refused("reminders", "retry", "999999") == (2, "there is no delivery 999999")


def test_people_channels_and_suppressions(clock: Any) -> None:
    anna = person("anna")
    todo(anna, **DUE)
    shown = data("reminders", "preferences", "anna", "time_zone=Europe/Berlin", "quiet_from=22:00", "quiet_until=07:00")
    assert shown["quiet_from"] == "22:00"
    assert refused("reminders", "preferences", "anna", "time_zone=Mars")[0] == 2
    code, said = refused("reminders", "preferences", "anna", "quiet_until=22:00")
    assert (code, said.startswith("quiet_until: is 22:00, when they begin")) == (2, True)
    assert refused("reminders", "preferences", "anna", "colour")[0] == 2
    assert Preferences.objects.get().time_zone == "Europe/Berlin"
    assert data("reminders", "preview", "anna")[0]["local"] == "2026-03-02T10:00:00+01:00"
    assert run("reminders", "preview", "anna").startswith("TIME\tTASK")

    channel = Channel.objects.create(user=anna, kind="mail", enabled=False)
    assert [row["id"] for row in data("reminders", "channels", "--user", "anna", "--unusable")] == [channel.pk]
    assert data("reminders", "enable-channel", str(channel.pk))["enabled"] is True
    assert data("reminders", "disable-channel", str(channel.pk))["enabled"] is False
    assert refused("reminders", "enable-channel", "999999")[0] == 2
    Suppression.objects.create(address="anna@example.org", reason="550 gone")
    assert data("reminders", "suppressions", "--search", "anna")[0]["reason"] == "550 gone"
    assert run("reminders", "lift", "Anna@example.org") == "anna@example.org is mailed again\n"
    assert refused("reminders", "lift", "anna@example.org")[0] == 2


@pytest.mark.parametrize("command", ["todos", "projects", "reminders"])
def test_help_has_examples_that_parse(command: str) -> None:

    loaded: Any = load_command_class("reminders", command)
    parser = loaded.create_parser("manage.py", command)
    text = parser.format_help()
    assert "exit codes:" in text

    for example in loaded.examples:
        words = shlex.split(example, comments=True)
        assert words[0] == command
        parser.parse_args(words[1:])
