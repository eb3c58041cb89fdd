"""The operators' pages of default rules: what each shows, does and refuses, and to whom."""

from datetime import date, time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.models import AuditEntry, Job
from jobs.tests.admin_helpers import client_with, page_of, said
from reminders.models import PlannedReminder, ReminderRule
from reminders.services import planning
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}
HOSTILE = "<script>alert(1)</script>"
ALL = ("reminders.view_reminderrule", "reminders.change_preferences", "reminders.view_todo")


def url(page: str = "changelist", *args: Any) -> str:
    return page_of("reminders_defaultrule", page, *args)


def text(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content.decode())


def test_a_rule_is_added_for_somebody_by_the_service_with_its_audit_entry(clock: Any) -> None:
    person("ada")
    boss = client_with(*ALL)
    assert 'value="ada"' in text(boss.get(f"{url('add')}?user=ada"))

    answer = boss.post(url("add"), {"person": "ada", "offset": "-PT30M", "anchor": "start"})

    rule = ReminderRule.objects.get()
    assert answer["Location"] == url("change", rule.pk)
    assert (rule.person.get_username(), rule.offset, rule.anchor, rule.todo) == ("ada", "-PT30M", "start", None)
    entry = AuditEntry.objects.get(action="rule.create")
    assert (entry.via, entry.target, entry.detail["rule"]) == ("admin", "ada", rule.pk)
    assert Job.objects.filter(task="reminders.replan_person").count() == 1


def test_what_cannot_be_is_said_beside_its_field_and_nothing_is_added(clock: Any) -> None:
    ada = person("ada")
    ReminderRule.objects.create(person=ada, offset="-P1D")
    boss, form = client_with(*ALL), {"person": "ada", "offset": "-PT1H", "anchor": "due"}
    for change, words in (
        ({"offset": "soon"}, "is no duration"),
        ({"offset": ""}, "It is missing"),
        ({"offset": "-P1D"}, "There is a default rule of -P1D already"),
        ({"anchor": "moon"}, "Select a valid choice"),
        ({"person": "nobody"}, "There is no open account &#x27;nobody&#x27;"),
        ({"person": ""}, "Name an account"),
        ({"person": "a\x00b"}, "Null characters are not allowed"),
    ):
        assert words in text(boss.post(url("add"), {**form, **change})), change
    assert ReminderRule.objects.count() == 1


def test_the_list_searches_filters_and_shows_no_rules_of_tasks(clock: Any) -> None:
    ada, bob = person("ada"), person("bob")
    todo(ada, ReminderRule(offset="-PT7M"), **DUE)
    ReminderRule.objects.create(person=ada, offset="-PT1H")
    ReminderRule.objects.create(person=bob, offset="-P1D", anchor="start")
    aside = {"set_aside_at": at("2026-03-01 00:00"), "set_aside_because": HOSTILE}
    ReminderRule.objects.create(person=bob, offset="PT0S", **aside)
    boss = client_with(*ALL)

    def shown(query: str = "") -> set[str]:
        page = text(boss.get(f"{url()}?{query}"))
        assert HOSTILE not in page
        offsets = {"-PT7M", "-PT1H", "-P1D", "PT0S"}
        return {offset for offset in offsets if f">{offset}<" in page.replace(" ", "").replace("\n", "")}

    assert shown() == {"-PT1H", "-P1D", "PT0S"}
    assert shown("state=aside") == {"PT0S"}
    assert shown("state=used&person=bob") == {"-P1D"}
    assert shown("anchor=start") == {"-P1D"}
    assert shown("q=ad") == {"-PT1H"}
    assert shown("q=ad&anchor=start") == shown("person=eve") == shown("state=odd") == set()


def test_a_rule_is_edited_tried_again_and_deleted(clock: Any) -> None:
    ada = person("ada")
    rule = ReminderRule.objects.create(
        person=ada, offset="-PT1H", set_aside_at=at("2026-03-01 00:00"), set_aside_because="It failed."
    )
    boss = client_with(*ALL)
    assert "It failed." in text(boss.get(url("change", rule.pk)))
    boss.get(url("deed", rule.pk, "enable"))
    assert ReminderRule.objects.filter(set_aside_at=None).count() == 0
    assert "tried again" in said(boss.post(url("deed", rule.pk, "enable")))
    assert ReminderRule.objects.get().set_aside_at is None

    assert "Nothing was changed" in said(boss.post(url("edit", rule.pk), {"offset": "-PT1H", "anchor": "due"}))
    assert "is no duration" in text(boss.post(url("edit", rule.pk), {"offset": "x", "anchor": "due"}))
    boss.post(url("edit", rule.pk), {"offset": "-PT2H", "anchor": "due"})
    rule.refresh_from_db()
    assert rule.offset == "-PT2H"

    boss.post(url("deed", rule.pk, "delete"))
    assert not ReminderRule.objects.exists()
    assert "There is no default rule" in said(boss.get(url("change", rule.pk)))
    actions = list(AuditEntry.objects.filter(via="admin").order_by("pk").values_list("action", flat=True))
    assert actions == ["rule.enable", "rule.change", "rule.delete"]


def test_a_rules_page_shows_what_comes_of_it_and_a_tasks_rule_has_none_here(clock: Any) -> None:
    ada = person("ada", time_zone="Europe/Berlin")
    rule = ReminderRule.objects.create(person=ada, offset="-PT1H")
    row = todo(ada, title=f"Water {HOSTILE}", **DUE)
    own = ReminderRule.objects.create(todo=todo(ada, **DUE), offset="-PT1H")
    planning.replan([row.pk])
    assert PlannedReminder.objects.filter(rule=rule).exists()
    boss = client_with(*ALL, "reminders.view_preferences")

    page = text(boss.get(url("change", rule.pk)))
    assert "2026-03-02T09:00:00+01:00" in page
    assert HOSTILE not in page
    assert "What comes next" not in text(client_with(*ALL, name="other").get(url("change", rule.pk)))
    assert boss.get(url("change", own.pk)).status_code == 302
    boss.post(url("deed", own.pk, "delete"))
    assert ReminderRule.objects.filter(pk=own.pk).exists()


def test_pages_are_closed_without_their_permission(clock: Any) -> None:
    rule = ReminderRule.objects.create(person=person("ada"), offset="-PT1H")
    viewer, nobody = client_with("reminders.view_reminderrule", name="viewer"), client_with(name="nobody")
    assert "Delete</a>" not in text(viewer.get(url("change", rule.pk)))
    for page in (url("add"), url("edit", rule.pk), url("deed", rule.pk, "delete")):
        for answer in (viewer.get(page), viewer.post(page), nobody.get(page)):
            assert answer.status_code == 403, page
    assert nobody.get(url()).status_code == nobody.get(url("change", rule.pk)).status_code == 403
    assert text(client_with("reminders.change_preferences", name="changer").get(url()))
    assert ReminderRule.objects.exists()


def test_a_long_list_has_pages_that_take_as_many_statements_as_a_short_one(clock: Any) -> None:
    boss = client_with(*ALL)
    boss.get(url())

    def statements() -> int:
        with CaptureQueriesContext(connection) as seen:
            text(boss.get(url()))
        return len(seen)

    ReminderRule.objects.create(person=person("ada"), offset="-PT1H")
    before = statements()
    ReminderRule.objects.bulk_create(ReminderRule(person=person(), offset="-PT1H") for _ in range(29))

    assert statements() == before
    assert text(boss.get(url())).count("<strong>1 hour before") == 25
    assert text(boss.get(f"{url()}?p=2")).count("<strong>1 hour before") == 5


def test_somebodys_preferences_lead_to_their_rules_and_channels_for_those_who_may_see_them(clock: Any) -> None:
    kept = person("ada", time_zone="UTC").reminder_preferences
    page_url = page_of("reminders_preferences", "change", kept.pk)
    links = (f"{url()}?person=ada", f"{page_of('reminders_channel')}?user=ada")
    viewer = client_with("reminders.view_preferences", name="viewer")
    assert not [link for link in links if link in text(viewer.get(page_url))]
    boss = client_with("reminders.view_preferences", "reminders.view_reminderrule", "reminders.view_channel")
    page = text(boss.get(page_url))
    assert [link in page and boss.get(link).status_code for link in links] == [200, 200]
