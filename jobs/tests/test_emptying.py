"""What a test that commits leaves behind is emptied as by Django's flush, and without standing in a worker's way."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.models import Job
from jobs.tasks import echo
from jobs.tests import emptying
from jobs.tests.live import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other() -> Iterator[Any]:
    """Another session on the test database."""
    with psycopg.connect(database_url()) as session:
        yield session


def fill() -> None:
    """Rows in tables of ours and others', with foreign keys, triggers and a relation of many to many."""
    echo.delay("left behind")
    user = User.objects.create_user("left-behind")
    group = Group.objects.create(name="left-behind")
    user.groups.add(group)
    group.permissions.add(*Permission.objects.all()[:3])
    every = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.create(name="left behind", task="selftest.echo", interval=every)


def contents() -> dict[str, Any]:
    """What is in each table; ids of what a flush makes anew are of no account."""
    with connection.cursor() as cursor:
        counts = {}
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            counts[table] = cursor.fetchone()[0]
    return {
        "counts": counts,
        "types": set(ContentType.objects.values_list("app_label", "model")),
        "permissions": set(
            Permission.objects.values_list("content_type__app_label", "content_type__model", "codename", "name")
        ),
    }


def test_the_next_test_finds_what_it_would_find_after_a_flush() -> None:
    fill()
    call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
    after_flush = contents()
    fill()
    assert contents() != after_flush

    emptying.empty()

    assert contents() == after_flush


def test_what_a_flush_makes_anew_is_put_back() -> None:
    emptying.empty()
    before = contents()
    Permission.objects.first().delete()
    Permission.objects.filter(pk=Permission.objects.last().pk).update(name="another's")
    made = ContentType.objects.create(app_label="jobs", model="left_behind")
    Permission.objects.create(content_type=made, codename="left_behind", name='it\'s "left" behind, (NULL)\n')

    emptying.empty()

    assert contents() == before
    assert ContentType.objects.get_for_model(Job).pk == ContentType.objects.get(app_label="jobs", model="job").pk


def test_ids_go_on_where_they_were() -> None:
    first = Group.objects.create(name="first")
    emptying.empty()

    assert Group.objects.create(name="second").pk > first.pk


def test_large_tables_are_truncated_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    emptying.empty()
    before = contents()
    monkeypatch.setattr(emptying, "TRUNCATE_BYTES", 0)
    fill()

    emptying.empty()

    assert contents() == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size('jobs_job')")
        assert cursor.fetchone() == (0,)


def test_an_account_that_may_not_do_all_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    before_truncating = ContentType.objects.get_for_model(Job).pk
    monkeypatch.setattr(emptying, "_is_superuser", lambda cursor: False)

    emptying.empty()

    assert not User.objects.exists()
    assert ContentType.objects.get(app_label="jobs", model="job").pk != before_truncating


def test_what_is_being_written_is_waited_for_and_emptied_too(other: Any) -> None:
    other.execute("INSERT INTO auth_group (name) VALUES ('not committed yet')")
    committing = threading.Timer(0.3, other.commit)
    committing.start()

    emptying.empty()
    committing.join()

    assert not Group.objects.exists()


def test_a_reader_in_a_transaction_is_not_in_the_way(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    emptying.empty()  # the first of a process is Django's flush, which waits for readers, too
    monkeypatch.setattr(emptying, "TRUNCATE_BYTES", 2**40)  # as does truncating
    other.execute("SELECT count(*) FROM auth_group")
    Group.objects.create(name="left behind")

    emptying.empty()

    assert not Group.objects.exists()


def test_of_two_that_wait_for_each_other_it_is_not_the_other_that_fails(other: Any) -> None:
    """As with a worker that has written one table, and goes on to another while the first is waited for."""
    other.execute("INSERT INTO jobs_job SELECT * FROM jobs_job")  # holds the later table in the order of names
    failed: list[Exception] = []

    def go_on() -> None:
        try:
            other.execute("INSERT INTO auth_group (name) VALUES ('the earlier table')")
            other.commit()
        except psycopg.Error as exc:
            failed.append(exc)

    going_on = threading.Timer(0.05, go_on)
    going_on.start()
    emptying.empty()
    going_on.join()

    assert failed == []
    assert not Group.objects.exists()


def test_who_is_in_the_way_for_too_long_is_named(other: Any) -> None:
    other.execute("INSERT INTO auth_group (name) VALUES ('never committed')")
    pid = other.info.backend_pid

    with pytest.raises(AssertionError, match=rf"session {pid}, idle in transaction,.*auth_group.*never committed"):
        emptying.empty(total_seconds=0)

    other.rollback()


def test_what_is_wrong_otherwise_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emptying, "_tables", lambda connection: ["no_such_table"])

    with pytest.raises(Exception, match="no_such_table"):
        emptying.empty()
