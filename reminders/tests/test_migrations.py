"""Migrations beside a process of the former version that still writes, and where they were cut off."""

from datetime import UTC, date, datetime, time
from importlib import import_module
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration

from reminders.models import Preferences, Todo
from reminders.tests.factories import person, todo

QUIET = {"quiet_from": time(22), "quiet_until": time(22)}


def migration(name: str) -> Any:
    made: Migration = import_module(f"reminders.migrations.{name}").Migration(name, "reminders")
    return made


def apply(name: str, *, atomic: bool = True) -> None:
    """As `migrate` does, whatever was applied before."""
    state = MigrationLoader(connection).project_state(migration(name).dependencies[0])
    with connection.schema_editor(atomic=atomic) as editor:
        migration(name).apply(state, editor)


def run(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.django_db
def test_quiet_hours_of_no_length_are_emptied_and_none_comes_between_the_two_migrations() -> None:
    run("ALTER TABLE reminders_preferences DROP CONSTRAINT preferences_quiet_length")
    before, other = person("before", **QUIET), person("other", quiet_from=time(22), quiet_until=time(6))
    run("SET CONSTRAINTS ALL IMMEDIATE")

    apply("0011_quiet_hours_of_no_length")
    with pytest.raises(IntegrityError, match="preferences_quiet_length"), transaction.atomic():
        Preferences.objects.filter(user=other).update(**QUIET)
    apply("0012_quiet_hours_have_a_length")

    assert list(Preferences.objects.filter(user=before).values_list("quiet_from", "quiet_until")) == [(None, None)]
    assert Preferences.objects.get(user=other).quiet_until == time(6)
    kept = run("SELECT convalidated FROM pg_constraint WHERE conname = 'preferences_quiet_length'")
    assert kept == [(True,)]


@pytest.mark.django_db
def test_starts_on_days_without_a_time_are_the_beginnings_of_those_days() -> None:
    ada, day = person("ada"), date(2027, 1, 1)
    rows = [todo(ada, time_zone="America/New_York", start_date=day, start_time=clock) for clock in (None, time(9))]
    Todo.objects.update(start_at=datetime(2027, 1, 2, 5, tzinfo=UTC))

    apply("0015_starts_of_days")

    first, second = (Todo.objects.get(pk=row.pk).start_at for row in rows)
    assert first == datetime(2027, 1, 1, 5, tzinfo=UTC)
    assert second == datetime(2027, 1, 2, 5, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
def test_indexes_are_made_anew_where_their_migration_was_cut_off() -> None:
    """Some are there, one is invalid, as a CREATE INDEX CONCURRENTLY leaves it, and one is missing."""
    run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'channel_set_aside'::regclass")
    run("DROP INDEX rule_default_newest")

    apply("0009_default_rules", atomic=False)

    names = ("blob_pending", "channel_set_aside", "remdelivery_uncertain", "rule_default_newest")
    made = f"SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text IN {names}"
    assert run(made) == [(len(names),)]
