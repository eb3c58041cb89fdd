"""Lists and pages of one's own tasks: what stands where, and what each button does."""

import html
import re
import uuid
from datetime import date, time, timedelta
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from jobs.models import AuditEntry
from jobs.tests.admin_helpers import client_with, page_of
from reminders.models import PlannedReminder, Priority, Project, ReminderRule, Todo
from reminders.services import agenda, todos
from reminders.tests.factories import person, todo
from reminders.tests.opened_forms import opened
from reminders.tests.test_pages_account import logged_in

pytestmark = pytest.mark.django_db
TODAY = date(2026, 3, 1)
TODO = "reminders_todo"


@pytest.fixture
def anna(clock: Any) -> Any:
    """In Tokyo, where it is nine hours later than in the clock: 09:00 on the first of March 2026."""
    return person("anna", time_zone="Asia/Tokyo")


@pytest.fixture
def client(anna: Any) -> Client:
    return logged_in(anna)


def said(response: Any) -> str:
    """What the answer, or the page that it leads to, says in messages."""
    return " ".join(str(message) for message in response.wsgi_request._messages)


def titles(response: Any) -> dict[str, list[str]]:
    """Of each section of the page, the titles."""
    return {
        section.name: [one.title for _, group in groups for one in group]
        for section, groups in response.context["shown"]
        if section.count
    }


def test_tasks_stand_where_they_are_due_on_the_persons_own_clock(anna, client):
    dates: dict[str, Any] = {"creator": anna, "time_zone": "Asia/Tokyo"}
    todo(title="yesterday", due_date=TODAY - timedelta(days=1), **dates)
    todo(title="an hour ago", due_date=TODAY, due_time=time(8), **dates)
    todo(title="some time today", due_date=TODAY, **dates)
    todo(title="tonight", due_date=TODAY, due_time=time(23, 59), **dates)
    todo(title="at midnight", due_date=TODAY + timedelta(days=1), due_time=time(0), **dates)
    todo(title="tomorrow by my clock", creator=anna, due_date=TODAY, due_time=time(20), time_zone="UTC")
    todo(title="some day", **dates)

    response = client.get("/todos/")

    assert titles(response) == {
        "overdue": ["yesterday", "an hour ago"],
        "today": ["tonight", "some time today"],
        "upcoming": ["at midnight", "tomorrow by my clock"],
        "undated": ["some day"],
    }
    assert "Tomorrow, Monday 2 March" in response.content.decode()
    assert "05:00" in response.content.decode()


def test_the_list_is_ones_own_and_others_are_a_choice_away(anna, client):
    ben = person("ben")
    project = Project.objects.create(name="Garden")
    project.members.add(anna)
    todo(anna, title="mine")
    todo(ben, title="given to me", assignees=[anna])
    todo(anna, title="given to ben", assignees=[ben])
    todo(ben, title="watched", watchers=[anna])
    todo(ben, title="of the project", project=project)
    todo(ben, title="not mine")

    shown = {whose: titles(client.get("/todos/", {"whose": whose})).get("undated", []) for whose in agenda.WHOSE}

    assert shown == {
        "mine": ["mine", "given to me"],
        "given": ["given to ben"],
        "watched": ["watched"],
        "all": ["mine", "given to me", "given to ben", "watched", "of the project"],
    }


def test_an_operators_own_list_is_not_everybodys(clock):
    boss = person("boss")
    boss.user_permissions.add(Permission.objects.get(codename="view_todo"))
    todo(person(), title="of somebody")
    mine = todo(boss, title="of the boss")

    response = logged_in(boss).get("/todos/?whose=all")

    assert titles(response) == {"undated": ["of the boss"]}
    assert mine.pk


def test_the_list_is_narrowed_by_project_tag_and_words(anna, client):
    project = Project.objects.create(name="Garden")
    project.members.add(anna)
    todo(anna, title="Dig", project=project)
    todo(anna, title="Pay 100%", tags=["money & more"])
    todo(anna, title="Call", notes="about the Invoice")

    for query, expected in [
        ({"project": project.pk}, ["Dig"]),
        ({"tag": "money & more"}, ["Pay 100%"]),
        ({"q": "invoi"}, ["Call"]),
        ({"q": "100%"}, ["Pay 100%"]),
        ({"q": "%"}, ["Pay 100%"]),
    ]:
        assert titles(client.get("/todos/", query)) == {"undated": expected}, query
    assert "Nothing that fits" in client.get("/todos/?q=nowhere").content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        "tag=%00",
        "project=99999999999999999999999",
        "project=%D9%A1",
        "project=-1",
        "page=-1",
        "page=99999",
        "when=overdue&page=0",
        "whose=x",
        "q=%ff",
        pytest.param("q=" + "x" * 5000, id="long"),
    ],
)
def test_what_cannot_be_meant_in_an_address_is_passed_over(client, query):
    for path in ("/todos/", "/todos/done/"):
        assert client.get(f"{path}?{query}").status_code == 200


def test_a_section_by_itself_has_pages_and_the_done_have_a_page_of_their_own(anna, client, monkeypatch):
    monkeypatch.setattr(agenda, "A_PAGE", 4)
    monkeypatch.setattr(agenda, "A_SECTION", 2)
    for number in range(agenda.A_PAGE + 2):
        todos.create({"title": f"t{number}"}, creator=anna)
    for row in Todo.objects.order_by("pk")[:2]:
        todos.complete(row.pk, anna, cancelled=False)
    todos.create({"title": "one more"}, creator=anna)

    everything, second = client.get("/todos/"), client.get("/todos/?when=undated&page=2")
    done = client.get("/todos/done/")

    assert len(titles(everything)["undated"]) == agenda.A_SECTION
    assert len(titles(second)["undated"]) == 1
    assert "Page 2 of 2" in second.content.decode()
    assert [one.title for one in done.context["todos"]] == ["t1", "t0"]
    assert client.get("/todos/?when=never").status_code == 404


def test_the_number_of_statements_does_not_grow_with_the_list(anna, client, django_assert_max_num_queries):
    ben = person("ben")
    for number in range(12):
        due = TODAY + timedelta(days=number - 3) if number % 4 else None
        todo(anna, title=f"t{number}", due_date=due, assignees=[anna, ben], tags=[f"tag{number}"])

    for path in ("/todos/", "/todos/?when=upcoming", "/todos/done/", "/preferences/"):
        with django_assert_max_num_queries(16):
            assert client.get(path).status_code == 200


# --- Adding -----------------------------------------------------------------------------------------------------------


def test_the_quick_line_adds_a_task_in_the_persons_zone(anna, client):
    response = client.post("/todos/add/", {"title": "Call ☎ اتصل", "due_date": "2026-03-02", "due_time": "07:30"})

    assert response["Location"] == "/todos/"
    made = Todo.objects.get()
    assert (made.title, made.time_zone, made.creator) == ("Call ☎ اتصل", "Asia/Tokyo", anna)
    assert (made.due_date, made.due_time) == (date(2026, 3, 2), time(7, 30))
    assert AuditEntry.objects.get(action="todo.create").via == "page"
    assert "Added:" in client.get("/todos/").content.decode()


def test_a_form_that_is_sent_twice_makes_one_task_and_another_content_another(client):
    key = str(uuid.uuid4())

    for title in ("Once", "Once", "Twice"):
        assert client.post("/todos/add/", {"title": title, "key": key}).status_code == 302

    assert sorted(Todo.objects.values_list("title", flat=True)) == ["Once", "Twice"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"title": ""}, "required"),
        ({"title": "x" * 501}, "at most 500"),
        ({"title": "a\x00b"}, "Null characters"),
        ({"title": "a\tb"}, "on one line"),
        ({"title": "Kept", "due_date": "2026-02-31"}, "This is no date"),
        ({"title": "Kept", "due_date": "9999-12-31"}, "2999-12-31"),
        ({"title": "Kept", "due_time": "25:00", "due_date": "2026-03-02"}, "no time of day"),
        ({"title": "Kept", "due_time": "09:00"}, "due_date"),
        ({"title": "Kept", "key": "no-uuid", "due_date": "x"}, "This is no date"),
    ],
)
def test_what_is_wrong_is_told_beside_the_line_with_what_was_typed(client, given, told):
    response = client.post("/todos/add/", given)
    html = response.content.decode()

    assert response.status_code == 422
    assert told in html
    if given["title"] == "Kept":
        assert 'value="Kept"' in html
    assert not Todo.objects.exists()


def test_more_takes_the_quick_line_along(client):
    html = client.get("/todos/new/", {"title": "Write", "due_date": "2026-03-04", "due_time": "99"}).content.decode()

    assert 'value="Write"' in html
    assert 'value="2026-03-04"' in html
    assert "Asia/Tokyo" in html


def test_the_whole_form_adds_people_rules_and_repetition(anna, client):
    person("ben")
    project = Project.objects.create(name="Garden")
    project.members.add(anna)
    given = {
        "title": "Water", "notes": "all\nof them", "due_date": "2026-03-02", "due_time": "18:00", "priority": "high",
        "time_zone": "Europe/Berlin", "remind": ["-PT1H", "-P1D"], "overdue_reminders": "on", "repeat": "weekly",
        "interval": "2", "weekdays": ["TH", "MO"], "repeat_from": "due", "project": project.pk,
        "tags": "green, wet,green", "assignees": "anna, ben", "watchers": "",
    }  # fmt: skip

    response = client.post("/todos/new/", given)

    made = Todo.objects.get()
    assert response["Location"] == f"/todos/{made.pk}/"
    assert (made.rrule, made.repeat_from) == ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH", "due")
    assert (made.time_zone, made.priority, made.tags) == ("Europe/Berlin", Priority.HIGH, ["green", "wet"])
    assert [user.username for user in made.assignees.order_by("username")] == ["anna", "ben"]
    assert sorted(rule.offset for rule in made.rules.all()) == ["-P1D", "-PT1H"]
    html = client.get(f"/todos/{made.pk}/").content.decode()
    assert "every 2 weeks on Monday and Thursday" in html


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"assignees": "nobody-here"}, "There is no open account"),
        ({"repeat": "own", "rrule": "FREQ=SECONDLY"}, "SECONDLY"),
        ({"repeat": "daily", "due_date": ""}, "needs a due date"),
        ({"repeat": "workdays", "repeat_from": "completion"}, "repeats from its completion"),
        ({"start_date": "2026-04-01"}, "start is after it is due"),
        ({"project": "999999"}, "Select a valid choice"),
        ({"time_zone": "Mars/Base"}, "Select a valid choice"),
        ({"interval": "-3"}, "greater than or equal to 1"),
        ({"remind": ["-P9999Y"]}, "Select a valid choice"),
        ({"tags": "x" * 60}, "50"),
        ({"notes": "x" * 20_001}, "20000"),
    ],
)
def test_a_refusal_stands_beside_its_field_and_nothing_is_lost(client, wrong, told):
    given = {"title": "Kept title", "due_date": "2026-03-02", "time_zone": "UTC", "repeat_from": "due", **wrong}

    response = client.post("/todos/new/", given)

    html = response.content.decode()
    assert response.status_code == 422
    assert told in html.replace("&#x27;", "'")
    assert 'value="Kept title"' in html
    assert not Todo.objects.exists()


# --- One task ---------------------------------------------------------------------------------------------------------


def test_an_edit_changes_what_was_changed_in_the_form_alone(anna, client):
    task = todo(anna, title="Before", due_date=date(2026, 3, 5), due_time=time(9), rrule="FREQ=MONTHLY;BYDAY=1FR")
    shown = opened(client, f"/todos/{task.pk}/edit/")
    Todo.objects.filter(pk=task.pk).update(notes="written meanwhile by somebody else")

    response = client.post(f"/todos/{task.pk}/edit/", {**shown, "due_time": "09:00", "title": "After"})

    assert response["Location"] == f"/todos/{task.pk}/"
    task.refresh_from_db()
    assert (task.title, task.rrule, task.due_time) == ("After", "FREQ=MONTHLY;BYDAY=1FR", time(9))
    assert task.notes == "written meanwhile by somebody else"


def test_done_again_given_up_and_open_again_are_buttons_and_twice_is_once(anna, client):
    task = todo(anna, title="Dishes")

    first, second = (client.post(f"/todos/{task.pk}/complete/", {"next": "/todos/?q=d"}) for _ in range(2))
    assert (first["Location"], second["Location"]) == ("/todos/?q=d", "/todos/?q=d")
    assert AuditEntry.objects.filter(action="todo.complete").count() == 1
    client.post(f"/todos/{task.pk}/cancel/")
    assert "reopen it first" in client.get("/todos/").content.decode()
    client.post(f"/todos/{task.pk}/reopen/")
    client.post(f"/todos/{task.pk}/cancel/", {"next": "//evil.example/"})

    task.refresh_from_db()
    assert task.cancelled
    assert (
        client.post(f"/todos/{task.pk}/reopen/", {"next": "https://evil.example"})["Location"] == f"/todos/{task.pk}/"
    )
    assert client.get(f"/todos/{task.pk}/complete/").status_code == 405


def test_a_repeated_task_that_is_done_names_the_next_one(anna, client):
    task = todo(anna, due_date=TODAY, rrule="FREQ=DAILY")

    html = client.post(f"/todos/{task.pk}/complete/", follow=True).content.decode()

    successor = Todo.objects.exclude(pk=task.pk).get()
    assert successor.due_date == TODAY + timedelta(days=1)
    assert f'The next one: <a href="/todos/{successor.pk}/">' in html


@pytest.mark.parametrize(
    ("given", "until"),
    [
        ({"for": "hour"}, "2026-03-01 01:00"),
        ({"for": "tomorrow"}, "2026-03-02 00:00"),
        ({"for": "week"}, "2026-03-08 00:00"),
        ({"snooze-day": "2026-03-03", "snooze-clock": "18:30"}, "2026-03-03 09:30"),
        ({"snooze-day": "2026-03-03"}, "2026-03-03 00:00"),
    ],
)
def test_snooze_is_until_a_time_of_the_persons_clock(anna, client, given, until):
    task = todo(anna)

    response = client.post(f"/todos/{task.pk}/snooze/", given, follow=True)

    planned = PlannedReminder.objects.get(todo=task)
    assert f"{planned.fire_at:%Y-%m-%d %H:%M}" == until
    assert "You will be reminded on" in response.content.decode()


@pytest.mark.parametrize("given", [{}, {"snooze-day": "2020-01-01"}, {"snooze-day": "x"}, {"snooze-day": "2999-12-31"}])
def test_a_snooze_that_cannot_be_is_told_beside_its_day(anna, client, given):
    task = todo(anna)

    response = client.post(f"/todos/{task.pk}/snooze/", given)

    assert response.status_code == 422
    assert response.context["snooze"].errors["day"]
    if "2020" in given.get("snooze-day", ""):
        assert "2020-01-01T09:00:00+09:00 has passed" in response.text
    assert not PlannedReminder.objects.exists()


def test_a_closed_task_is_not_snoozed_and_says_so(anna, client):
    task = todo(anna)
    todos.complete(task.pk, anna)

    assert "reopen it" in client.post(f"/todos/{task.pk}/snooze/", {"for": "hour"}, follow=True).content.decode()


def test_deleting_is_asked_first_and_is_for_whoever_made_it(anna, client):
    mine, theirs = todo(anna, title="Mine"), todo(person("ben"), title="Theirs", assignees=[anna])

    assert "Delete this task?" in client.get(f"/todos/{mine.pk}/delete/").content.decode()
    assert client.post(f"/todos/{mine.pk}/delete/")["Location"] == "/todos/"
    assert client.post(f"/todos/{theirs.pk}/delete/").status_code == 403
    assert [row.title for row in Todo.objects.all()] == ["Theirs"]
    assert client.post(f"/todos/{mine.pk}/delete/").status_code == 404


# --- Its reminders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "offset"),
    [
        ({"when": "due -PT15M", "audience": "assignees"}, "-PT15M"),
        ({"when": "own", "days": "1", "hours": "2", "side": "-", "audience": "me"}, "-P1DT2H"),
        ({"when": "own", "minutes": "45", "side": "+", "audience": "watchers"}, "PT45M"),
    ],
)
def test_rules_are_added_in_plain_choices_once(anna, client, given, offset):
    task = todo(anna, due_date=TODAY + timedelta(days=9), due_time=time(9))
    prefixed = {f"rule-{name}": value for name, value in given.items()}

    for _ in range(2):
        assert client.post(f"/todos/{task.pk}/rules/", prefixed)["Location"] == f"/todos/{task.pk}/"

    rule = ReminderRule.objects.get(todo=task)
    assert (rule.offset, rule.person) == (offset, anna if given["audience"] == "me" else None)
    client.post(f"/todos/{task.pk}/rules/{rule.pk}/delete/")
    assert client.post(f"/todos/{task.pk}/rules/{rule.pk}/delete/").status_code == 302
    assert not ReminderRule.objects.exists()


def test_a_rule_at_a_time_is_of_the_persons_clock_and_comes_next(anna, client):
    task = todo(anna)
    when = {"rule-when": "at", "rule-at_date": "2026-03-01", "rule-at_time": "21:15", "rule-audience": "me"}

    client.post(f"/todos/{task.pk}/rules/", when)

    assert ReminderRule.objects.get().time_zone == "Asia/Tokyo"
    html = client.get(f"/todos/{task.pk}/").content.decode()
    assert "Next reminder for you: <strong><time" in html
    assert "Sun 1 Mar, 21:15" in html


@pytest.mark.parametrize(
    "given", [{}, {"when": "own", "audience": "me"}, {"when": "at", "audience": "me"}, {"when": "x", "audience": "y"}]
)
def test_a_rule_that_is_not_whole_is_told_beside_its_field(anna, client, given):
    task = todo(anna)

    response = client.post(f"/todos/{task.pk}/rules/", {f"rule-{name}": value for name, value in given.items()})

    assert response.status_code == 422
    assert response.context["rule_form"].errors
    assert not ReminderRule.objects.exists()


def test_rules_of_another_task_are_not_taken_away_by_way_of_mine(anna, client):
    ben = person("ben")
    rule = todo(ben, ReminderRule(offset="-PT1H")).rules.get()

    client.post(f"/todos/{todo(anna).pk}/rules/{rule.pk}/delete/")

    assert ReminderRule.objects.filter(pk=rule.pk).exists()


def test_the_page_tells_what_holds_the_next_reminder_and_why(anna, client):
    anna.reminder_preferences.quiet_from, anna.reminder_preferences.quiet_until = time(8), time(20)
    anna.reminder_preferences.save()
    task = todo(anna, due_date=TODAY, due_time=time(10), time_zone="Asia/Tokyo")

    html = client.get(f"/todos/{task.pk}/").content.decode()
    why = client.get(f"/todos/{task.pk}/why/").content.decode()

    assert "It would be held until" in html
    assert "quiet hours" in html
    assert "Overdue: when it is due" in why
    assert "Quiet hours are from 08:00 to 20:00" in why


@pytest.mark.parametrize(
    "rrule", ["FREQ=MONTHLY;BYMONTHDAY=-2", "FREQ=DAILY;INTERVAL=1000", "FREQ=MONTHLY;BYMONTHDAY=-1", "FREQ=WEEKLY"]
)
def test_a_rule_of_any_kind_stays_as_it_is_where_something_else_is_edited(anna, client, rrule):
    row = todo(anna, due_date=TODAY, rrule=rrule)
    series = row.series
    form = opened(client, f"/todos/{row.pk}/edit/")

    assert client.post(f"/todos/{row.pk}/edit/", {**form, "title": "Other"}).status_code == 302

    row.refresh_from_db()
    assert (row.title, row.rrule, row.series) == ("Other", rrule, series)


@pytest.mark.parametrize("place", ["pages", "admin"])
def test_a_task_with_many_long_tags_and_people_can_be_edited(anna, client, place):
    people = [person(f"{number:03}{'x' * 140}") for number in range(40)]
    row = todo(anna, tags=[f"{number:03}{'x' * 40}" for number in range(120)], assignees=people, watchers=people)
    path = f"/todos/{row.pk}/edit/"
    if place == "admin":
        client, path = client_with("reminders.view_todo", "reminders.change_todo"), page_of(TODO, "edit", row.pk)
    form = opened(client, path)

    assert client.post(path, {**form, "title": "Other"}).status_code == 302


def test_the_links_of_a_list_lead_on_after_a_quick_line_that_was_refused(anna, client):
    for number in range(30):
        todo(anna, title=f"Task {number}", tags=["home"])
    refused = client.post("/todos/add/", {"title": "Water", "due_time": "10:00"})
    page = refused.content.decode()

    links = set(re.findall(r'(?:href|action)="([^"#]*[?][^"]*)"', page)) | set(
        re.findall(r'"get" action="([^"]*)"', page)
    )

    assert refused.status_code == 422
    assert len(links) >= 6
    assert {client.get(urljoin("/todos/add/", html.unescape(link))).status_code for link in links} == {200}


def test_the_address_of_a_button_opened_as_a_page_tells_what_to_do(anna, client):
    row = todo(anna)

    response = client.get(f"/todos/{row.pk}/complete/")

    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert "press it once more" in response.content.decode()
    row.refresh_from_db()
    assert row.is_open


def test_a_rule_whose_form_is_sent_twice_at_the_same_moment_is_one(anna, client, monkeypatch):
    row = todo(anna, due_date=TODAY)
    real, calls = todos.locked, []

    def locked(todo_id: int) -> Todo:
        calls.append(todo_id)
        if len(calls) == 1:
            ReminderRule.objects.create(todo=row, person=anna, offset="-P1D")
        return real(todo_id)

    monkeypatch.setattr(todos, "locked", locked)

    client.post(f"/todos/{row.pk}/rules/", {"rule-when": "due -P1D", "rule-audience": "me"})

    assert row.rules.count() == 1
