"""The operators' pages: what each shows, does and refuses, and to whom."""

from datetime import date, time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.models import AuditEntry, Job
from jobs.tests.admin_helpers import client_with, page_of, said
from reminders.models import (
    Channel,
    PlannedReminder,
    Preferences,
    Project,
    ReminderDelivery,
    ReminderRule,
    Suppression,
    Todo,
)
from reminders.services import scanning
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}
HOSTILE = "<script>alert(1)</script>"
ALL = tuple(
    f"reminders.{name}"
    for name in (
        *("view_todo", "add_todo", "change_todo", "delete_todo", "view_reminder", "view_reminderdelivery"),
        *("send_reminder", "view_channel", "change_channel", "view_suppression", "delete_suppression"),
        *("view_preferences", "change_preferences", "view_project", "add_project", "change_project", "delete_project"),
    )
)


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return page_of(f"reminders_{model}", page, *args)


def text(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content.decode())


def test_the_list_of_tasks_searches_and_filters(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    house = Project.objects.create(name="House")
    clock("2026-03-10 10:00")
    todo(ada, title=f"Fence {HOSTILE}", due_date=date(2026, 3, 9), project=house, tags=["home"])
    todo(ada, title="Mow", assignees=[bob], priority=4, due_date=date(2026, 3, 10))
    Todo.objects.filter(pk=todo(bob, title="Swept").pk).update(done_at=at("2026-03-01 00:00"))
    boss = client_with(*ALL)

    def shown(query: str = "") -> set[str]:
        page = text(boss.get(f"{url('todo')}?{query}"))
        assert HOSTILE not in page
        return {title for title in ("Fence", "Mow", "Swept") if f">{title}" in page}

    assert shown() == {"Fence", "Mow", "Swept"}
    assert shown("state=overdue") == {"Fence"}
    assert shown("state=today") == {"Mow"}
    assert shown("state=done") == {"Swept"}
    assert shown("state=odd") == set()
    assert shown("assignee=bob") == {"Mow"}
    assert shown("project=House") == {"Fence"}
    assert shown("priority=urgent") == {"Mow"}
    assert shown("due_after=2026-03-11T00:00") == shown("q=nul%00") == set() or shown("q=mow") == {"Mow"}
    assert shown("q=fence+-mow") == {"Fence"}


def test_a_task_is_added_edited_and_refused_by_its_form(clock: Any) -> None:
    person("ada")
    boss = client_with(*ALL)
    form = {"title": "Water", "due_date": "2026-03-02", "due_time": "09:00", "time_zone": "Europe/Berlin"}
    form |= {
        "priority": "high",
        "tags": "home, garden",
        "creator": "ada",
        "repeat_from": "due",
        "overdue_reminders": "on",
    }
    answer = boss.post(url("todo", "add"), form)
    row = Todo.objects.get()
    assert answer["Location"] == url("todo", "change", row.pk)
    assert (row.priority, row.tags, row.creator.get_username(), row.due_at) == (
        3,
        ["home", "garden"],
        "ada",
        at("2026-03-02 08:00"),
    )
    edit = url("todo", "edit", row.pk)
    assert 'value="09:00"' in text(boss.get(edit))
    page = text(boss.post(edit, {**form, "title": "", "due_date": "soon", "assignees": "nobody"}))
    for words in ("cannot be blank", "it takes a date, such as 2027-01-31", "no open account"):
        assert words in page
    boss.post(edit, {**form, "due_time": "", "assignees": "ada"})
    row.refresh_from_db()
    assert (row.due_time, row.assignees.get().get_username()) == (None, "ada")
    assert AuditEntry.objects.filter(action="todo.change", via="admin").count() == 1


def test_a_task_that_repeats_tells_that_another_date_moves_it_alone(clock: Any) -> None:
    ada, boss = person("ada"), client_with(*ALL)
    told = "another due date moves this one"
    row = todo(ada, rrule="FREQ=MONTHLY", **DUE)
    counted = todo(ada, rrule="FREQ=MONTHLY", repeat_from="completion", **DUE)

    assert f"every month ({told} alone; the series goes on by its own dates)" in text(
        boss.get(url("todo", "change", row.pk))
    )
    assert f"{told} task alone" in text(boss.get(url("todo", "edit", row.pk)))
    for other in (counted, todo(ada, **DUE)):
        assert told not in text(boss.get(url("todo", "change", other.pk)))


def test_the_page_of_a_task_shows_all_of_it(clock: Any) -> None:
    ada = person("ada", time_zone="Europe/Berlin")
    row = todo(ada, ReminderRule(offset="-PT1H"), title=HOSTILE, notes=f"{HOSTILE}\u202e", watchers=[ada], **DUE)
    clock("2026-03-02 08:00")
    scanning.send_due_soon()
    boss = client_with(*ALL)
    page = text(boss.get(url("todo", "change", row.pk)))
    assert HOSTILE not in page
    for words in (
        "1 hour before it is due",
        "2026-03-02 10:00 Europe/Berlin",
        "when it is due",
        "handed over",
        "⟨U+202E⟩",
    ):
        assert words in page
    told = text(boss.get(f"{url('todo', 'explain', row.pk)}?user=ada"))
    assert "It fires on 2026-03-02 10:00 Europe/Berlin (09:00 UTC)." in told
    assert HOSTILE not in told
    assert "There is no open account" in said(boss.get(f"{url('todo', 'explain', row.pk)}?user=nobody"))
    assert boss.get(url("todo", "change", 999999)).status_code == 302


def test_deeds_of_a_task_are_asked_first(clock: Any) -> None:
    row = todo(person("ada"), **DUE)
    boss = client_with(*ALL)
    assert "Is it done?" in text(boss.get(url("todo", "deed", row.pk, "complete")))
    row.refresh_from_db()
    assert row.is_open
    boss.post(url("todo", "deed", row.pk, "complete"))
    assert "is done already" in said(boss.post(url("todo", "deed", row.pk, "cancel")))
    boss.post(url("todo", "deed", row.pk, "reopen"))
    assert "has passed" in said(boss.post(url("todo", "snooze", row.pk), {"until": "2020-01-01"}))
    assert "ada will be reminded on 2026-03-02 00:00 UTC" in said(
        boss.post(url("todo", "snooze", row.pk), {"until": "P1D"})
    )
    rule = url("todo", "rule", row.pk)
    assert "is no duration" in text(boss.post(rule, {"offset": "soon", "anchor": "due", "audience": "assignees"}))
    boss.post(rule, {"offset": "-PT2H", "anchor": "due", "audience": "assignees"})
    added = ReminderRule.objects.get()
    assert PlannedReminder.objects.filter(rule=added).exists()
    boss.get(url("todo", "rule_deed", row.pk, added.pk, "delete"))
    assert ReminderRule.objects.exists()
    boss.post(url("todo", "rule_deed", row.pk, added.pk, "delete"))
    assert not ReminderRule.objects.exists()
    boss.get(url("todo", "remove", row.pk))
    boss.post(url("todo", "remove", row.pk))
    assert not Todo.objects.exists()


def test_several_tasks_are_done_snoozed_and_deleted(clock: Any) -> None:
    ada = person("ada")
    rows = [todo(ada, title=f"Task {number}", **DUE) for number in range(3)]
    boss = client_with(*ALL)
    ticked = {"_selected_action": [row.pk for row in rows[:2]]}
    assert "Until" in text(boss.post(url("todo"), {"action": "snooze_selected", **ticked}))
    answer = boss.post(url("todo"), {"action": "snooze_selected", **ticked, "until": "P1D"})
    assert "2 tasks snoozed" in said(answer)
    assert PlannedReminder.objects.filter(kind="snooze:0").count() == 2
    assert "2 tasks done" in said(boss.post(url("todo"), {"action": "complete_selected", **ticked}))
    assert "0 tasks snoozed; 2 not" in said(
        boss.post(url("todo"), {"action": "snooze_selected", **ticked, "until": "P1D"})
    )
    assert "Delete 2 tasks?" in text(boss.post(url("todo"), {"action": "delete_selected", **ticked}))
    boss.post(url("todo"), {"action": "delete_selected", **ticked, "sure": "yes"})
    assert Todo.objects.get() == rows[2]
    assert boss.post(url("todo"), {"action": "complete_selected", "_selected_action": "x"}).status_code == 302


def test_pages_are_closed_without_their_permission(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, **DUE)
    channel = Channel.objects.create(user=ada, kind="mail")
    viewer = client_with("reminders.view_todo", "reminders.view_channel", name="viewer")
    assert "Delete</a>" not in text(viewer.get(url("todo", "change", row.pk)))
    for page in (
        *(url("todo", "add"), url("todo", "edit", row.pk), url("todo", "deed", row.pk, "complete")),
        *(url("todo", "snooze", row.pk), url("todo", "remove", row.pk), url("todo", "rule", row.pk)),
        *(url("todo", "explain", row.pk), url("reminder"), url("reminder", "scan"), url("reminderdelivery")),
        *(url("project"), url("project", "add"), url("suppression"), url("preferences")),
        url("channel", "deed", channel.pk, "disable"),
    ):
        assert viewer.get(page).status_code == 403, page
        assert viewer.post(page).status_code == 403, page
    nobody = client_with(name="nobody")
    assert nobody.get(url("todo")).status_code == 403
    row.refresh_from_db()
    assert row.is_open


def test_a_tasks_own_rule_is_edited_in_place(clock: Any) -> None:
    ada, bob, _ = person("ada"), person("bob"), person("eve")
    row = todo(ada, ReminderRule(offset="-PT1H"), assignees=[ada], watchers=[bob], **DUE)
    other = todo(ada, ReminderRule(offset="-P2D"), **DUE)
    rule = row.rules.get()
    ReminderRule.objects.update(set_aside_at=at("2026-03-01 00:00"), set_aside_because="It failed.")
    boss, edit = client_with(*ALL), url("todo", "rule_edit", row.pk, rule.pk)
    assert edit in text(boss.get(url("todo", "change", row.pk)))
    assert 'value="-PT1H"' in text(boss.get(edit))
    form = {"offset": "-PT1H", "anchor": "due", "at": "", "time_zone": "", "audience": "assignees", "person": ""}

    assert "Nothing was changed" in said(boss.post(edit, form))
    assert "is no duration" in text(boss.post(edit, {**form, "offset": "soon"}))
    assert "not both" in text(boss.post(edit, {**form, "offset": "-P1D", "at": "2026-03-01T18:00"}))
    assert "takes a date" in text(boss.post(edit, {**form, "at": "soon"}))
    assert "has no part in the task" in text(boss.post(edit, {**form, "person": "eve"}))
    rule.refresh_from_db()
    assert (rule.offset, rule.set_aside_because) == ("-PT1H", "It failed.")

    at_a_time = {**form, "at": "2026-03-01T18:00", "time_zone": "Europe/Berlin", "audience": "watchers"}
    assert "planned anew" in said(boss.post(edit, at_a_time))
    rule.refresh_from_db()
    assert (rule.offset, rule.at_date, rule.at_time) == ("", date(2026, 3, 1), time(18))
    assert (rule.time_zone, rule.audience, rule.set_aside_because) == ("Europe/Berlin", "watchers", "")
    assert [(plan.recipient, plan.fire_at) for plan in row.planned.filter(rule=rule)] == [(bob, at("2026-03-01 17:00"))]
    assert "Nothing was changed" in said(boss.post(edit, {**at_a_time, "offset": ""}))
    assert "It is missing" in text(boss.post(edit, {**at_a_time, "offset": "", "at": ""}))
    boss.post(edit, {**at_a_time, "offset": "-P1D", "at": ""})
    rule.refresh_from_db()
    assert (rule.offset, rule.at_date, rule.at_time, rule.time_zone) == ("-P1D", None, None, "")
    assert AuditEntry.objects.filter(action="rule.change", target=str(row.pk), via="admin").count() == 2

    assert "has no rule" in said(boss.post(url("todo", "rule_edit", row.pk, other.rules.get().pk), form))
    viewer = client_with("reminders.view_todo", name="viewer")
    assert viewer.get(edit).status_code == viewer.post(edit, form).status_code == 403
    assert edit not in text(viewer.get(url("todo", "change", row.pk)))


def test_reminders_and_deliveries_with_job_and_effect(clock: Any) -> None:
    ada = person("ada")
    row = todo(ada, **DUE)
    clock("2026-03-02 09:00")
    boss = client_with(*ALL)
    assert "Scanned by the job" in said(boss.post(url("reminder", "scan")))
    assert Job.objects.filter(task="reminders.send_due_soon").exists()
    scanning.send_due_soon()
    reminder, delivery = row.reminders.get(), ReminderDelivery.objects.get()
    assert "when it is due" in text(boss.get(f"{url('reminder')}?state=outbox&recipient=ada&todo={row.pk}"))
    assert f"delivery {delivery.pk}" in text(boss.get(url("reminder", "change", reminder.pk)))
    page = text(boss.get(url("reminderdelivery", "change", delivery.pk)))
    assert delivery.job_id[:8] in page
    assert "Send again" not in page
    assert "only a failed one is sent again" in said(boss.post(url("reminderdelivery", "retry", delivery.pk)))
    ReminderDelivery.objects.update(state="failed", error=f"550 {HOSTILE}")
    page = text(boss.get(f"{url('reminderdelivery')}?state=failed&kind=mail&layout=single"))
    assert "550" in page
    assert HOSTILE not in page
    ticked = {"action": "retry_selected", "_selected_action": [delivery.pk]}
    assert "1 delivery sent again" in said(boss.post(url("reminderdelivery"), ticked))
    delivery.refresh_from_db()
    assert delivery.state == "pending"


def test_channels_suppressions_and_preferences(clock: Any) -> None:
    ada = person("ada", time_zone="Europe/Berlin", quiet_from=time(22), quiet_until=time(7))
    todo(ada, **DUE)
    hook = Channel.objects.create(user=ada, kind="webhook", address="https://x.example/secret-path", secret="whsec_x")
    boss = client_with(*ALL)
    page = text(boss.get(url("channel"))) + text(boss.get(url("channel", "change", hook.pk)))
    assert "webhook to ada" in page
    assert "secret-path" not in page
    assert "whsec_" not in page
    boss.get(url("channel", "deed", hook.pk, "disable"))
    boss.post(url("channel", "deed", hook.pk, "disable"))
    hook.refresh_from_db()
    assert not hook.enabled
    assert f"/{hook.pk}/" in text(boss.get(f"{url('channel')}?state=off"))
    boss.post(url("channel", "deed", hook.pk, "enable"))
    assert Channel.objects.filter(pk=hook.pk, enabled=True).exists()

    row = Suppression.objects.create(address="ada@example.org", reason=f"550 {HOSTILE}")
    assert HOSTILE not in text(boss.get(f"{url('suppression')}?q=ada"))
    boss.post(url("suppression", "lift", row.pk))
    assert not Suppression.objects.exists()

    kept = Preferences.objects.get()
    page = text(boss.get(url("preferences", "change", kept.pk)))
    assert "22:00 to 07:00" in page
    assert "2026-03-02T10:00:00+01:00" in page
    edit = url("preferences", "edit", kept.pk)
    form = {"time_zone": "Europe/Berlin", "anchor_time": "09:00", "quiet_from": "22:00", "quiet_until": "07:00"}
    form |= {"urgent_bypasses_quiet": "on", "digest_from": "4", "paused_until": ""}
    assert "is no time zone" in text(boss.post(edit, {**form, "time_zone": "Mars"}))
    assert "when they begin, so they would be never or always" in text(boss.post(edit, {**form, "quiet_from": "07:00"}))
    boss.post(edit, {**form, "digest_from": "0", "quiet_until": "06:30"})
    kept.refresh_from_db()
    assert (kept.digest_from, kept.quiet_until, kept.time_zone) == (0, time(6, 30), "Europe/Berlin")


def test_projects_are_made_changed_and_deleted(clock: Any) -> None:
    person("ada")
    boss = client_with(*ALL)
    boss.post(url("project", "add"), {"name": "House", "members": "ada"})
    row = Project.objects.get()
    assert "is taken" in text(boss.post(url("project", "add"), {"name": "House"}))
    assert "House" in text(boss.get(f"{url('project')}?q=hou&archived=no&member=ada"))
    boss.post(url("project", "edit", row.pk), {"name": "Home", "members": "", "archived": "on"})
    row.refresh_from_db()
    assert (row.name, row.archived_at is not None, row.members.count()) == ("Home", True, 0)
    assert "Home" in text(boss.get(url("project", "change", row.pk)))
    assert "Its tasks stay" in text(boss.get(url("project", "deed", row.pk, "delete")))
    assert "Home is deleted" in said(boss.post(url("project", "deed", row.pk, "delete")))
    assert not Project.objects.exists()


def test_lists_take_as_many_queries_for_many_as_for_one(clock: Any) -> None:
    boss = client_with(*ALL)
    pages = [url(model) for model in ("todo", "project", "reminder", "reminderdelivery", "channel", "preferences")]

    def more(count: int) -> None:
        clock("2026-03-01 00:00")
        for _ in range(count):
            ada = person(time_zone="UTC")
            project = Project.objects.create(name=ada.username)
            project.members.set([ada])
            todo(ada, assignees=[ada, person()], project=project, **DUE)
        clock("2026-03-02 09:00")
        scanning.send_due_soon()

    def queries() -> list[int]:
        counts = []
        for page in pages:
            with CaptureQueriesContext(connection) as seen:
                text(boss.get(page))
            counts.append(len(seen))
        return counts

    more(1)
    queries()
    before = queries()
    more(4)
    assert queries() == before


def test_the_control_room_shows_what_is_due_and_what_is_wrong(clock: Any) -> None:
    ada = person("ada")
    clock("2026-03-02 08:00")
    todo(ada, **DUE)
    todo(ada, due_date=date(2026, 2, 1))
    boss = client_with(*ALL)
    page = text(boss.get("/admin/"))
    for words in ("tasks due today", "tasks overdue", "since the last scan for reminders"):
        assert words in page
    scanning.send_due_soon()
    assert "since the last scan for reminders" not in text(boss.get("/admin/"))
    assert "tasks due today" not in text(client_with("jobs.view_job", name="other").get("/admin/"))


@pytest.mark.parametrize("given", ["²", "1²", "①", "-1", "x"])
def test_a_number_that_is_none_is_refused_in_words(clock: Any, given: str) -> None:
    row = Preferences.objects.create(user=person("ada"))
    edit = url("preferences", "edit", row.pk)

    page = text(client_with(*ALL).post(edit, {"time_zone": "UTC", "anchor_time": "09:00", "digest_from": given}))

    assert "it takes" in page


def test_what_comes_next_is_shown_to_those_alone_who_may_see_tasks_and_preferences(clock: Any) -> None:
    ada = person("ada")
    row = Preferences.objects.create(user=ada)
    todo(ada, title="Mow", **DUE)
    sees = {
        names: text(
            client_with(*(f"reminders.{name}" for name in names), name=" ".join(names)).get(
                url("preferences", "change", row.pk)
            )
        )
        for names in (("view_preferences",), ("change_preferences", "view_todo"), ("view_preferences", "view_todo"))
    }

    assert ["Mow" in page for page in sees.values()] == [False, False, True]
    assert not any("Nothing is planned" in page for page in sees.values())
