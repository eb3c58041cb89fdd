"""Feeds by their secret, and calendars by REST and command: who may, what is answered, what is noted."""

import io
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from jobs.models import AuditEntry
from jobs.tests.api_client import caller, problem
from jobs.tests.api_client import person as account
from reminders.models import CalendarFeed, Preferences, ReminderRule, Todo
from reminders.services import calendars, feeds, todos
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db
FILES = Path(__file__).parent / "calendars"
IMPORT, EXPORT, FEED = "/api/v1/todos/import/", "/api/v1/todos/export.ics", "/api/v1/calendar-feed/"


@pytest.fixture
def ada(clock: Any) -> Any:
    return person("ada")


def subscribe(user: Any) -> str:
    return feeds.url_of(feeds.renew(user)[1])


# --- The feed ---------------------------------------------------------------------------------------------------------


def test_a_feed_shows_open_tasks_and_those_done_of_late(ada: Any, client: Client, clock: Any) -> None:
    bob = person()
    todo(ada, title="Open")
    todo(bob, assignees=[ada], title="Assigned")
    todo(bob, watchers=[ada], title="Watched")
    todo(bob, title="Of Bob")
    todos.complete(todo(ada, title="Done").pk, ada)
    url = subscribe(ada)

    answer = client.get(url)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer["Cache-Control"].startswith("private")
    titles = [line[8:] for line in answer.content.decode().split("\r\n") if line.startswith("SUMMARY:")]
    assert titles == ["Open", "Assigned", "Watched", "Done"]
    clock("2026-04-01 00:00")
    assert b"Done" not in client.get(url).content


def test_it_is_not_built_again_while_nothing_changes(ada: Any, client: Client, monkeypatch: Any) -> None:
    row = todo(ada, ReminderRule(offset="-PT5M"), due_date=date(2026, 3, 20))
    url = subscribe(ada)
    etag = client.get(url)["ETag"]
    assert etag.startswith('"')
    with monkeypatch.context() as patched:
        patched.setattr(calendars, "calendar_of", lambda user: pytest.fail("built"))
        same = client.get(url, headers={"If-None-Match": f'"other", W/{etag}'})
        assert (same.status_code, same.content, same["ETag"]) == (304, b"", etag)
        assert client.head(url, headers={"If-None-Match": etag}).status_code == 304
    head = client.head(url)
    assert (head.status_code, head.content, head["ETag"]) == (200, b"", etag)
    assert int(head["Content-Length"]) > 100

    def change_rule() -> None:
        ReminderRule.objects.filter(todo=row).update(offset="-PT6M")

    def change_clock() -> None:
        Preferences.objects.update_or_create(user=ada, defaults={"time_zone": "Asia/Tokyo"})

    seen = {etag}
    for change in (
        lambda: todos.change(row.pk, {"title": "Other"}),
        lambda: Todo.objects.filter(pk=row.pk).update(notes="by nobody's service"),
        change_rule,
        change_clock,
        lambda: todo(person(), watchers=[ada]),
        lambda: todos.delete(row.pk),
    ):
        change()
        answer = client.get(url, headers={"If-None-Match": etag})
        assert answer.status_code == 200, len(seen)
        etag = answer["ETag"]
        assert etag not in seen
        seen.add(etag)


def test_what_happens_to_others_is_no_change(ada: Any, client: Client) -> None:
    todo(ada, ReminderRule(offset="-PT5M"))
    other = todo(person(), ReminderRule(offset="-PT5M"))
    url = subscribe(ada)
    etag = client.get(url)["ETag"]
    todos.change(other.pk, {"title": "Other"})
    todo(person(), ReminderRule(offset="-PT5M"))
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304


def test_the_same_state_gives_the_same_bytes(ada: Any, client: Client, clock: Any) -> None:
    todo(ada, ReminderRule(offset="-PT5M"), due_date=date(2026, 3, 20))
    url = subscribe(ada)
    first = client.get(url)
    clock("2026-03-05 00:00")
    again = client.get(url)
    assert (again.content, again["ETag"]) == (first.content, first["ETag"])


@pytest.mark.parametrize("secret", ["x", "A" * 43, "%00", "%ed%a0%80", "a%2fb", "x" * 3000])
def test_an_unknown_secret_is_not_found(client: Client, secret: str) -> None:
    assert client.get(f"/calendar/{secret}.ics").status_code == 404


def test_a_revoked_or_renewed_secret_and_a_closed_account_are_not_found(ada: Any, client: Client) -> None:
    first, second = subscribe(ada), subscribe(ada)
    assert (client.get(first).status_code, client.get(second).status_code) == (404, 200)
    ada.is_active = False
    ada.save()
    assert client.get(second).status_code == 404
    ada.is_active = True
    ada.save()
    assert feeds.revoke(ada)
    assert client.get(second).status_code == 404
    assert not feeds.revoke(ada)


def test_only_the_digest_of_a_secret_is_kept(ada: Any) -> None:
    feed, secret = feeds.renew(ada)
    row = CalendarFeed.objects.filter(pk=feed.pk).values().get()
    assert len(bytes(row["token_digest"])) == 32
    assert secret not in str(row)


def test_reading_is_noted_once_an_hour(ada: Any, client: Client, clock: Any) -> None:
    url = subscribe(ada)
    noted = []
    for minute in (0, 59, 61):
        clock(at("2026-03-01 00:00") + timedelta(minutes=minute))
        client.get(url)
        noted.append(CalendarFeed.objects.get().last_read_at)
    assert noted == [at("2026-03-01 00:00"), at("2026-03-01 00:00"), at("2026-03-01 01:01")]


def test_too_many_requests_are_put_off_and_no_log_names_the_secret(ada: Any, client: Client, caplog: Any) -> None:
    url = subscribe(ada)
    codes = [client.get(url).status_code for _ in range(31)]
    assert codes == [200] * 30 + [429]
    assert int(client.get(url)["Retry-After"]) >= 1
    assert client.get(subscribe(person())).status_code == 200
    unknown = [client.get(f"/calendar/{number}.ics").status_code for number in range(61)]
    assert unknown == [404] * 60 + [429]
    assert "/calendar/" not in caplog.text


def test_only_reading_is_allowed_and_no_log_names_the_secret(ada: Any, client: Client, caplog: Any) -> None:
    refused = client.post(subscribe(ada))
    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD")
    assert "/calendar/" not in caplog.text


# --- REST -------------------------------------------------------------------------------------------------------------


def test_import_takes_a_calendar_as_it_is_or_in_json(ada: Any) -> None:
    api = caller(ada)
    data = (FILES / "broken.ics").read_bytes()
    answer = api.post(IMPORT, data, content_type="text/calendar; charset=utf-8")
    assert answer.status_code == 200
    body = answer.json()
    assert (len(body["created"]), body["updated"], body["unchanged"]) == (2, [], [])
    assert {"line", "uid", "summary", "what", "remedy", "imported"} == set(body["errors"][0])

    again = api.post(IMPORT, {"calendar": data.decode()}, content_type="application/json").json()
    assert again == {**body, "created": [], "unchanged": body["created"]}
    entries = AuditEntry.objects.filter(action="calendar.import", actor="ada", via="api")
    assert [entry.detail["counts"]["created"] for entry in entries.order_by("id")] == [2, 0]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "text/calendar", 400),
        (b"BEGIN:VCALENDAR" + b"x" * 5_000_000, "text/calendar", 413),
        (b"{}", "application/json", 400),
        (b'{"calendar": 5}', "application/json", 400),
        (b'{"calendar": "BEGIN:VCALENDAR", "more": 1}', "application/json", 400),
        (b'[{"calendar": "x"}]', "application/json", 400),
        (b"BEGIN:VCALENDAR", "text/plain", 415),
    ],
)
def test_import_refuses_what_is_no_calendar(ada: Any, body: bytes, kind: str, status: int) -> None:
    problem(caller(ada).post(IMPORT, body, content_type=kind), status)
    assert not Todo.objects.exists()


def test_nul_and_half_characters_raise_nothing(ada: Any) -> None:
    text = "BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:\x00\nSUMMARY:\ud800\nDUE:20260301\nEND:VTODO\nEND:VCALENDAR"
    answer = caller(ada).post(IMPORT, json.dumps({"calendar": text}), content_type="application/json")
    assert answer.status_code == 200
    assert len(answer.json()["errors"]) == 2


def test_export_gives_ones_own_tasks_and_comes_back_unchanged(ada: Any) -> None:
    todo(ada, title="Mine", due_date=date(2026, 3, 20))
    todo(person(), title="Not mine")
    api = caller(ada)
    for accept in ("*/*", "text/calendar", "application/json"):
        answer = api.get(EXPORT, headers={"Accept": accept})
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/calendar; charset=utf-8")
        assert b"SUMMARY:Mine" in answer.content
        assert b"Not mine" not in answer.content
    back = api.post(IMPORT, answer.content, content_type="text/calendar").json()
    assert (back["created"], back["updated"], len(back["unchanged"]), back["errors"]) == ([], [], 1, [])


def test_another_persons_calendar_takes_permissions(ada: Any) -> None:
    todo(ada, title="Of Ada")
    data = (FILES / "phone-reminders.ics").read_bytes()
    stranger = caller(account("eve"))
    viewer = caller(account("vic", "reminders.view_todo"))
    editor = caller(account("edi", *(f"reminders.{verb}_todo" for verb in ("view", "add", "change"))))
    for api, codes in ((stranger, (403, 403)), (viewer, (200, 403)), (editor, (200, 200))):
        assert api.get(f"{EXPORT}?user=ada").status_code == codes[0]
        assert api.post(f"{IMPORT}?user=ada", data, content_type="text/calendar").status_code == codes[1]
    assert Todo.objects.filter(creator=ada).count() == 4
    problem(editor.get(f"{EXPORT}?user=nobody"), 404)
    problem(Client().get(EXPORT), 401)


def test_a_feed_is_made_shown_once_and_revoked_by_rest(ada: Any, client: Client) -> None:
    api = caller(ada)
    assert api.get(FEED).json() == {"exists": False, "created_at": None, "last_read_at": None}
    made = api.post(FEED, {}, content_type="application/json")
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    assert client.get(made.json()["url"]).status_code == 200
    shown = api.get(FEED).json()
    assert shown["exists"]
    assert shown["last_read_at"]
    assert "url" not in shown
    assert api.delete(FEED).status_code == 204
    assert client.get(made.json()["url"]).status_code == 404
    actions = AuditEntry.objects.filter(action__startswith="calendar_feed").order_by("id")
    assert [entry.action for entry in actions] == ["calendar_feed.renew", "calendar_feed.revoke"]
    assert made.json()["url"].split("/")[-1] not in str(list(actions.values()))


# --- The command ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("calendar", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_the_command_imports_and_exports(ada: Any, tmp_path: Path) -> None:
    assert run("import", str(FILES / "desktop-mail.ics"), "--user", "ada") == "2 made, 0 changed, 0 unchanged\n"
    file = tmp_path / "out.ics"
    file.write_text(run("export", "--user", "ada"), newline="")
    shown = json.loads(run("import", str(file), "--user", "ada", "--json"))
    assert (shown["created"], shown["updated"], len(shown["unchanged"])) == ([], [], 2)


def test_the_command_names_what_it_did_not_take(ada: Any, capsys: Any) -> None:
    with pytest.raises(CommandError, match="10 of the file's tasks were not taken") as refused:
        run("import", str(FILES / "broken.ics"), "--user", "ada")
    assert refused.value.returncode == 1
    assert Todo.objects.count() == 2


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["export", "--user", "nobody"], 2, "nobody"),
        (["import", "/nowhere.ics", "--user", "ada"], 2, "cannot be read"),
        (["import", str(FILES.parent / "factories.py"), "--user", "ada"], 1, "no calendar"),
    ],
)
def test_the_command_tells_wrong_use(ada: Any, arguments: list[str], code: int, named: str) -> None:
    with pytest.raises(CommandError, match=named) as refused:
        run(*arguments)
    assert refused.value.returncode == code


def test_the_command_renews_shows_and_revokes_feeds(ada: Any, client: Client) -> None:
    url = json.loads(run("feed", "renew", "--user", "ada", "--json"))["url"]
    assert client.get(url).status_code == 200
    assert json.loads(run("feed", "show", "--user", "ada", "--json"))["exists"]
    assert json.loads(run("feed", "revoke", "--user", "ada", "--json")) == {"revoked": True}
    assert "no" in run("feed", "show", "--user", "ada")
