"""Links in mails: each does its one thing, by its button alone, for its person, for thirty days."""

from datetime import date, time, timedelta
from typing import Any

import pytest
from django.core import signing
from django.test import Client

from jobs.models import AuditEntry
from reminders.models import Channel, PlannedReminder
from reminders.operators import todos as operators
from reminders.services import links, todos
from reminders.services.links import Action, Link
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
DUE = {"due_date": date(2026, 3, 2), "due_time": time(9)}


@pytest.fixture
def strict() -> Client:
    """Without a login, and as a browser that is asked for tokens against forgery."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def ada(clock: Any) -> Any:
    clock("2026-03-02 09:00")
    return person("ada", time_zone="Europe/Berlin", anchor_time=time(8, 30))


def of(row: Any, user: Any, action: Action, version: int | None = None) -> str:
    return links.path(Link(action, user.pk, row.pk, row.schedule_version if version is None else version))


@pytest.mark.parametrize("action", [Action.DONE, Action.HOUR, Action.TOMORROW, Action.WEEK, Action.OPEN])
def test_opening_a_link_does_nothing(strict: Client, ada: Any, action: Action) -> None:
    row = todo(ada, title="Buy <b>milk</b>", **DUE)
    planned = list(PlannedReminder.objects.values())

    for _ in range(2):
        response = strict.get(of(row, ada, action))
        assert response.status_code == 200
    assert strict.head(of(row, ada, action)).status_code == 200

    assert "Buy &lt;b&gt;milk&lt;/b&gt;" in response.text
    assert 'method="post"' in response.text
    row.refresh_from_db()
    assert row.is_open
    assert list(PlannedReminder.objects.values()) == planned
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    assert "noindex" in response["X-Robots-Tag"]
    assert "unsafe-inline" not in response["Content-Security-Policy"]
    assert "style=" not in response.text
    assert not response.cookies


def test_its_button_marks_a_task_as_done_once(strict: Client, ada: Any) -> None:
    row = todo(ada, rrule="FREQ=DAILY", **DUE)
    path = of(row, ada, Action.DONE)

    assert "due on Tuesday 3 March 2026" in strict.post(path).text
    row.refresh_from_db()
    assert (row.done_by, row.done_at) == (ada, at("2026-03-02 09:00"))
    assert list(AuditEntry.objects.values_list("actor", "via", "action")) == [("ada", "link", "todo.complete")]

    again = strict.post(path)
    assert again.status_code == 200
    assert "This task is done already" in again.text
    assert "closed on Monday 2 March 2026 at 10:00 Europe/Berlin" in again.text
    assert "is done already" in strict.get(path).text
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("action", "until"),
    [
        (Action.HOUR, "2026-03-02 10:00"),
        (Action.TOMORROW, "2026-03-03 07:30"),
        (Action.WEEK, "2026-03-09 07:30"),
    ],
)
def test_its_button_puts_a_task_off(strict: Client, ada: Any, action: Action, until: str) -> None:
    row = todo(ada, **DUE)
    assert "You are reminded again on " in strict.post(of(row, ada, action)).text
    assert PlannedReminder.objects.get(kind__startswith="snooze").fire_at == at(until)


def test_a_week_across_a_change_of_clocks_ends_at_the_same_hour(strict: Client, ada: Any, clock: Any) -> None:
    row = todo(ada, **DUE)
    clock("2026-03-25 09:00")
    strict.post(of(row, ada, Action.WEEK))
    assert PlannedReminder.objects.get(kind__startswith="snooze").fire_at == at("2026-04-01 06:30")


def test_a_link_of_a_former_date_does_not_close_the_present_task(strict: Client, ada: Any) -> None:
    row = todo(ada, **DUE)
    path = of(row, ada, Action.DONE)
    todos.change(row.pk, {"due_date": date(2026, 3, 9)})

    response = strict.post(path)
    assert response.status_code == 409
    assert "a date that has been changed since" in response.text
    row.refresh_from_db()
    assert row.is_open


def test_a_link_ends_after_thirty_days(strict: Client, ada: Any, clock: Any) -> None:
    row = todo(ada, **DUE)
    path = of(row, ada, Action.DONE)
    clock(at("2026-03-02 09:00") + timedelta(days=30, seconds=-1))
    assert strict.get(path).status_code == 200
    clock(at("2026-03-02 09:00") + timedelta(days=30, seconds=1))
    for response in (strict.get(path), strict.post(path)):
        assert response.status_code == 403
        assert "good for 30 days" in response.text
    row.refresh_from_db()
    assert row.is_open


def test_a_link_has_one_purpose_and_cannot_be_made_up(strict: Client, ada: Any) -> None:
    row = todo(ada, **DUE)
    good = links.token(Link(Action.DONE, ada.pk, row.pk, row.schedule_version))
    body, _, seal = good.partition(".")
    foreign = signing.Signer(salt="another", sep=".").sign_object(["done", ada.pk, row.pk, 0, 9e9])
    wrong = signing.Signer(salt="reminders.links", sep=".").sign_object("done")
    bad = [good[:-1], f"{body[:-2]}AA.{seal}", foreign, wrong, "x", ".", "x" * 5000, "%00", "\ud800", good.swapcase()]
    for text in bad:
        response = strict.post(f"/reminders/do/{text}/".encode("utf-8", "surrogatepass").decode("latin-1"))
        assert response.status_code in (403, 404), text
    for path in (f"/reminders/unsubscribe/{good}/", f"/reminders/subscribe/{good}/"):
        assert strict.post(path).status_code == 403
    stop = links.token(Link(Action.UNSUBSCRIBE, ada.pk, row.pk))
    assert strict.post(f"/reminders/do/{stop}/").status_code == 403
    assert strict.put(of(row, ada, Action.DONE)).status_code == 405
    row.refresh_from_db()
    assert row.is_open


def test_a_link_does_no_more_than_its_person_may(strict: Client, ada: Any) -> None:
    bob = person("bob")
    row = todo(bob, assignees=[ada], **DUE)
    path = of(row, ada, Action.DONE)
    row.assignees.clear()
    assert strict.post(path).status_code == 404
    assert strict.get(of(row, ada, Action.OPEN)).status_code == 404

    row.assignees.add(ada)
    ada.is_active = False
    ada.save()
    closed = strict.post(path)
    assert (closed.status_code, "The account is closed" in closed.text) == (403, True)
    row.delete()
    assert strict.post(of(row, bob, Action.DONE, 0).replace("None", "1")).status_code in (403, 404)


def test_a_link_of_an_operator_who_was_taken_off_a_task_puts_off_nobody(strict: Client, ada: Any) -> None:
    bob = person("bob")
    ada.is_superuser = True
    ada.save()
    row = todo(bob, assignees=[ada, bob], **DUE)
    todos.change(row.pk, {}, assignees=[bob.pk])
    planned = list(PlannedReminder.objects.values())
    assert strict.post(of(row, ada, Action.WEEK)).status_code == 404
    assert list(PlannedReminder.objects.values()) == planned


# --- Unsubscribing ----------------------------------------------------------------------------------------------------


@pytest.fixture
def channel(ada: Any) -> Channel:
    return Channel.objects.create(user=ada, kind="mail")


def since(channel: Channel) -> Any:
    return Channel.objects.values_list("unsubscribed_at", flat=True).get(pk=channel.pk)


def test_one_click_unsubscribes_and_opening_does_not(strict: Client, ada: Any, channel: Channel) -> None:
    path = links.path(Link(Action.UNSUBSCRIBE, ada.pk, channel.pk))

    shown = strict.get(path)
    assert "Unsubscribe</button>" in shown.text
    assert since(channel) is None

    told = strict.post(path, "List-Unsubscribe=One-Click", content_type=FORM)
    assert told.status_code == 200
    assert since(channel) == at("2026-03-02 09:00")
    assert strict.post(path, "List-Unsubscribe=One-Click", content_type=FORM).status_code == 200
    assert [entry.action for entry in AuditEntry.objects.all()] == ["channel.unsubscribe"]

    undo = told.text.partition('action="')[2].partition('"')[0]
    assert strict.get(undo).status_code == 200
    assert since(channel) is not None
    assert "You get reminders again" in strict.post(undo).text
    assert since(channel) is None


def test_unsubscribing_from_a_deleted_channel_says_so(strict: Client, ada: Any, channel: Channel) -> None:
    path = links.path(Link(Action.UNSUBSCRIBE, ada.pk, channel.pk))
    channel.delete()
    response = strict.post(path)
    assert (response.status_code, "deleted already" in response.text) == (404, True)


@pytest.mark.parametrize("gone", [False, True])
def test_what_closes_or_deletes_a_task_at_the_moment_of_the_press_is_told(
    strict: Client, ada: Any, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = todo(ada, **DUE)
    complete = operators.complete_todo

    def too_late(actor: Any, todo_id: int) -> Any:
        todos.complete(todo_id, ada, cancelled=True)
        if gone:
            todos.delete(todo_id)
        return complete(actor, todo_id)

    monkeypatch.setattr(operators, "complete_todo", too_late)
    response = strict.post(of(row, ada, Action.DONE))
    told = (404, "There is no such task") if gone else (409, "This task was closed")
    assert (response.status_code, told[1] in response.text) == (told[0], True)


def test_no_log_line_holds_a_link(strict: Client, ada: Any, caplog: pytest.LogCaptureFixture) -> None:
    row = todo(ada, **DUE)
    path = of(row, ada, Action.DONE)
    moved = of(row, ada, Action.DONE, version=9)
    elsewhere = path.replace("/do/", "/unsubscribe/")
    caplog.set_level("DEBUG", "django.request")

    assert [strict.post(one).status_code for one in (moved, elsewhere, path[:-3] + "/")] == [409, 403, 403]
    refused = strict.put(path)
    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD, POST")
    assert not [record for record in caplog.records if "/reminders/" in record.getMessage()]
