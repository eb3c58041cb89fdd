"""Rules that are changed fire anew, whatever fired by them just before."""

import re
from datetime import date, time
from typing import Any

import pytest

from jobs.operators.actors import command_actor
from jobs.operators.settings import SettingsRefused
from jobs.tests.in_process import run_all
from reminders.models import PlannedReminder, Reminder, ReminderRule
from reminders.operators import rules
from reminders.services import planning, scanning
from reminders.tasks import replan_person
from reminders.tests.factories import at, person, todo
from reminders.tests.racing import begun, uncommitted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def default(clock: Any) -> ReminderRule:
    """A rule of somebody's own, by which one task falls due at nine."""
    ada = person()
    made = ReminderRule.objects.create(person=ada, offset="PT0S")
    clock("2026-03-02 08:59")
    todo(ada, assignees=[ada], due_date=date(2026, 3, 2), due_time=time(9), overdue_reminders=False)
    return made


def planned() -> list[Any]:
    return list(PlannedReminder.objects.values_list("fire_at", flat=True))


def test_a_default_rule_that_fired_before_its_change_took_effect_fires_at_its_new_time(
    default: ReminderRule, clock: Any
) -> None:
    rules.change_rule(command_actor(), default.pk, {"offset": "PT1H"})
    clock("2026-03-02 09:00")
    scanning.fire(at("2026-03-02 09:00"))
    assert Reminder.objects.get().fire_at == at("2026-03-02 09:00")
    run_all()

    assert planned() == [at("2026-03-02 10:00")]
    assert Reminder.objects.get().state == "dropped"


def test_a_change_while_the_plan_is_made_anew_has_it_made_once_more(
    default: ReminderRule, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planning.people_of

    def read_and_changed_meanwhile(ids: Any) -> Any:
        found = before(ids)
        monkeypatch.setattr(planning, "people_of", before)
        rules.add_default_rule(command_actor(), {"offset": "PT30M"}, default.person.username)
        return found

    monkeypatch.setattr(planning, "people_of", read_and_changed_meanwhile)
    replan_person.delay(default.person_id)
    run_all()

    assert sorted(planned()) == [at("2026-03-02 09:00"), at("2026-03-02 09:30")]


def test_changes_of_two_rules_are_both_planned(default: ReminderRule, clock: Any) -> None:
    other = ReminderRule.objects.create(person=default.person, offset="PT30M")
    for rule, offset in ((default, "PT1H"), (other, "PT2H")):
        rules.change_rule(command_actor(), rule.pk, {"offset": offset})
    clock("2026-03-02 09:00")
    run_all()

    assert sorted(planned()) == [at("2026-03-02 10:00"), at("2026-03-02 11:00")]


# --- How many, and which ----------------------------------------------------------------------------------------------


def test_of_two_who_add_the_last_default_rule_at_once_one_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(rules, "MOST_RULES", 2)
    ada = person("ada")
    rules.add_default_rule(command_actor(), {"offset": "-PT1M"}, "ada")
    with uncommitted(lambda: rules.add_default_rule(command_actor(), {"offset": "-PT2M"}, "ada")):
        second = begun(lambda: rules.add_default_rule(command_actor(), {"offset": "-PT3M"}, "ada"))
    with pytest.raises(SettingsRefused, match="the most one has"):
        second.end()
    assert ReminderRule.objects.filter(person=ada).count() == 2


@pytest.mark.parametrize(
    ("first", "alike"), [("P0D", "-PT0S"), ("P1W", "P7D"), ("-PT24H", "-PT1440M"), ("PT60S", "+PT1M"), ("P1D", "P1D")]
)
def test_default_rules_that_mean_the_same_exclude_each_other(first: str, alike: str) -> None:
    person("ada")
    kept = rules.add_default_rule(command_actor(), {"offset": first}, "ada")
    other = rules.add_default_rule(command_actor(), {"offset": "-P99D"}, "ada")
    told = re.escape(f"there is a default rule of {first} already")
    with pytest.raises(SettingsRefused, match=told):
        rules.add_default_rule(command_actor(), {"offset": alike}, "ada")
    with pytest.raises(SettingsRefused, match=told):
        rules.change_rule(command_actor(), other.pk, {"offset": alike})
    rules.change_rule(command_actor(), kept.pk, {"offset": alike})
    rules.change_rule(command_actor(), other.pk, {"offset": alike, "anchor": "start"})


def test_a_day_of_the_clock_and_24_hours_are_two_rules() -> None:
    ada = person("ada")
    for offset in ("-P1D", "-PT24H"):
        rules.add_default_rule(command_actor(), {"offset": offset}, "ada")
    assert ReminderRule.objects.filter(person=ada).count() == 2
