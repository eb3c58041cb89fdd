"""Calendar files, taken in and given out by the page of preferences."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from jobs.models import AuditEntry
from reminders.models import Todo
from reminders.tests.factories import person, todo
from reminders.tests.test_pages_account import logged_in

pytestmark = pytest.mark.django_db
IMPORT = "/preferences/calendar/import/"
_HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n"
_GOOD = "BEGIN:VTODO\r\nUID:1\r\nDTSTAMP:20260301T000000Z\r\nSUMMARY:Water\r\nDUE:20260401T090000Z\r\nEND:VTODO\r\n"
_BAD = (
    "BEGIN:VTODO\r\nUID:2\r\nDTSTAMP:20260301T000000Z\r\nSUMMARY:<b>Odd</b>\r\nDUE:20260401T090000Z\r\n"
    "RRULE:FREQ=SECONDLY\r\nEND:VTODO\r\n"
)


@pytest.fixture
def anna(clock: Any) -> Any:
    return person("anna")


@pytest.fixture
def client(anna: Any) -> Client:
    return logged_in(anna)


def send(client: Client, *tasks: str, **extra: Any) -> Any:
    text = f"{_HEAD}{''.join(tasks)}END:VCALENDAR\r\n"
    return client.post(IMPORT, {"calendar": SimpleUploadedFile("a.ics", text.encode())}, follow=True, **extra)


def test_a_files_tasks_are_taken_in_once(anna: Any, client: Client) -> None:
    assert "1 added, 0 changed, 0 unchanged" in send(client, _GOOD).text
    assert "0 added, 0 changed, 1 unchanged" in send(client, _GOOD).text

    assert Todo.objects.get().creator == anna
    assert AuditEntry.objects.filter(action="calendar.import", actor="anna", via="page").count() == 2


def test_what_is_wrong_is_named_and_stops_nothing_else(client: Client) -> None:
    page = send(client, _GOOD, _BAD).text

    assert list(Todo.objects.values_list("title", flat=True)) == ["Water"]
    assert "&lt;b&gt;Odd&lt;/b&gt;" in page
    for words in ("1 added", "SECONDLY", "Not taken"):
        assert words in page


@pytest.mark.parametrize("body", [{}, {"calendar": "no file"}])
def test_without_a_file_one_is_asked_for(client: Client, body: dict[str, Any]) -> None:
    assert "choose one .ics file" in client.post(IMPORT, body, follow=True).text


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"x" * 3000])
def test_what_is_no_calendar_is_refused_in_words(client: Client, content: bytes) -> None:
    answer = client.post(IMPORT, {"calendar": SimpleUploadedFile("a.ics", content)}, follow=True)
    assert answer.status_code == 200
    assert "Nothing was taken: " in answer.text


def test_a_file_that_is_too_large_is_refused_by_its_length(client: Client) -> None:
    answer = send(client, _GOOD, CONTENT_LENGTH="5000000000")
    assert "5,000,000,000 bytes came" in answer.text
    assert not Todo.objects.exists()


def test_the_forms_token_is_asked_for(anna: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(anna)
    assert send(client, _GOOD).status_code == 403
    client.cookies["csrftoken"] = "a" * 32
    text = f"{_HEAD}{_GOOD}END:VCALENDAR\r\n".encode()
    sent = {"calendar": SimpleUploadedFile("a.ics", text), "csrfmiddlewaretoken": "a" * 32}
    assert client.post(IMPORT, sent).status_code == 302
    assert Todo.objects.exists()


def test_ones_own_tasks_are_given_out(anna: Any, client: Client) -> None:
    todo(anna, title="Mine")
    todo(person("bob"), title="Theirs")

    answer = client.get("/preferences/calendar/tasks.ics")

    assert answer["Content-Disposition"] == 'attachment; filename="tasks.ics"'
    assert "SUMMARY:Mine" in answer.text
    assert "Theirs" not in answer.text
    assert 'href="/preferences/calendar/tasks.ics"' in client.get("/preferences/").text
    assert Client().get("/preferences/calendar/tasks.ics").status_code == 302
