"""Files by REST and by pages: how they come in, how they go out, and who may."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from jobs.models import AuditEntry
from jobs.tests.api_client import caller, problem
from jobs.tests.api_client import person as operator
from reminders.models import Attachment, Blob, ScanState
from reminders.services import file_scanning
from reminders.tests import factories
from reminders.tests import filemaking as make
from reminders.tests.file_fixtures import *  # noqa: F403  (fixtures)
from reminders.tests.file_fixtures import stored

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> Any:
    return factories.person("anna")


@pytest.fixture
def todo(anna: Any, files: Path) -> Any:
    return factories.todo(anna)


@pytest.fixture
def api(anna: Any) -> Client:
    return caller(anna)


@pytest.fixture
def served(settings: Any, files: Path) -> None:
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "SERVE_UNSCANNED": True}


def read(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def send(api: Client, todo: Any, content: bytes, name: str = "notes.txt", **headers: str) -> Any:
    url = f"/api/v1/todos/{todo.pk}/attachments/"
    return api.post(f"{url}?name={name}" if name else url, content, "application/octet-stream", headers=headers)


def test_a_file_is_the_whole_body_or_the_file_of_a_form(api: Client, todo: Any):
    raw = send(api, todo, b"raw", "", **{"Content-Disposition": "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt"})
    form = api.post(f"/api/v1/todos/{todo.pk}/attachments/", {"file": SimpleUploadedFile("b.md", b"# b"), "more": "1"})

    assert raw.status_code == form.status_code == 201, form.content
    assert raw.json()["name"] == "grüße.txt"
    assert form.json()["name"] == "b.md"
    assert raw["Location"].endswith(f"/api/v1/attachments/{raw.json()['id']}/")
    assert raw.json()["uploaded_by"] == "anna"
    listed = api.get(f"/api/v1/todos/{todo.pk}/attachments/").json()["results"]
    assert [row["name"] for row in listed] == ["b.md", "grüße.txt"]
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"attachment.add"}


@pytest.mark.parametrize(
    ("content", "name", "status", "word"),
    [
        (b"", "a.txt", 415, "empty"),
        (make.SVG, "a.png", 415, "svg"),
        (b"x", "", 400, "bad-name"),
        (b"x", "a.exe", 415, "dangerous-name"),
        (b"x", "a%00%ED%A0%80.exe", 415, "dangerous-name"),
        (b"x" * 2001, "a.txt", 413, "too-large"),
        (make.zipped({"zeros": bytes(3_000_000)})[:2000], "a.zip", 415, "archive-broken"),
    ],
)
def test_a_refusal_names_its_reason(
    api: Client, todo: Any, files: Path, settings: Any, content: bytes, name: str, status: int, word: str
):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "MAX_BYTES": 2000}

    found = problem(send(api, todo, content, name), status)

    assert found["type"] == f"urn:switchyard:problem:{word}"
    assert stored(files) == []


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n", "no-file"),
        (
            b'--x\r\nContent-Disposition: form-data; name=a; filename="a.txt"\r\n\r\n1\r\n'
            b'--x\r\nContent-Disposition: form-data; name=b; filename="b.txt"\r\n\r\n2\r\n--x--\r\n',
            "several-files",
        ),
        (b"no form", "no-file"),
    ],
)
def test_a_form_without_one_file_is_refused(api: Client, todo: Any, files: Path, body: bytes, word: str):
    answer = api.post(f"/api/v1/todos/{todo.pk}/attachments/", body, "multipart/form-data; boundary=x")

    assert problem(answer, 400)["type"].endswith(word)
    assert list((files / "quarantine").glob("*")) == []


def test_a_huge_upload_is_refused_before_it_is_read(api: Client, todo: Any, files: Path):
    url = f"/api/v1/todos/{todo.pk}/attachments/?name=a.txt"
    answer = api.generic("POST", url, b"x", "application/octet-stream", CONTENT_LENGTH="5000000000")

    assert "5,000,000,000 bytes were announced" in problem(answer, 413)["detail"]
    assert not (files / "quarantine").exists()


class _Body:
    """What a client still has to send."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, most: int) -> bytes:
        piece, self.left = b"x" * min(most, self.left), max(0, self.left - most)
        return piece

    readline = read


@pytest.mark.parametrize("path", ["/api/v1/todos/{}/attachments/?name=a.txt", "/files/of-task/{}/"])
def test_a_client_that_sends_all_before_it_looks_gets_the_answer(
    todo: Any, anna: Any, files: Path, settings: Any, path: str
):
    """As browsers do: with the rest unread the connection would be reset, and the answer lost."""
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "MAX_BYTES": 100_000}
    client = caller(anna) if path.startswith("/api/") else Client()
    client.force_login(anna)

    def left_of(announced: int) -> int:
        body = _Body(announced)
        sent: dict[str, Any] = {"wsgi.input": body, "CONTENT_LENGTH": str(announced)}
        answer = client.generic("POST", path.format(todo.pk), b"", "multipart/form-data; boundary=x", **sent)
        assert answer.status_code == 413
        return body.left

    assert left_of(200_000) == 0
    assert left_of(5_000_000_000) == 5_000_000_000


def test_strangers_find_nothing_and_their_uploads_are_not_read(todo: Any, api: Client, files: Path):
    mine = send(api, todo, b"mine").json()["id"]
    stranger = caller(factories.person("eve"))

    for path in ("", "content", "thumbnail"):
        problem(stranger.get(f"/api/v1/attachments/{mine}/{path}"), 404)
    problem(stranger.delete(f"/api/v1/attachments/{mine}/"), 404)
    problem(stranger.post(f"/api/v1/attachments/{mine}/rescan/", {}, "application/json"), 403)
    problem(send(stranger, todo, b"theirs"), 404)
    assert stranger.get("/api/v1/attachments/").json()["results"] == []
    assert Client().post(f"/api/v1/todos/{todo.pk}/attachments/?name=a.txt", b"x", "text/plain").status_code == 401
    assert len(stored(files)) == 1


def test_a_content_goes_out_as_a_download_that_nothing_runs(api: Client, todo: Any, served: None):
    row = send(api, todo, b"# caf\xc3\xa9", "caf%C3%A9%22.md").json()

    answer = api.get(f"/api/v1/attachments/{row['id']}/content", headers={"Accept": "image/webp"})

    assert answer.status_code == 200
    assert read(answer) == b"# caf\xc3\xa9"
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''caf%C3%A9_.md"
    assert answer["Content-Type"] == "text/plain"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Cache-Control"] == "no-store, private"


def test_a_thumbnail_is_shown_and_told_while_there_is_none(api: Client, todo: Any, served: None):
    picture = send(api, todo, make.picture(), "a.png").json()["id"]
    text = send(api, todo, b"x").json()["id"]

    assert problem(api.get(f"/api/v1/attachments/{picture}/thumbnail"), 409)["type"].endswith("file-thumbnail-pending")
    assert problem(api.get(f"/api/v1/attachments/{text}/thumbnail"), 409)["type"].endswith("file-thumbnail-none")
    file_scanning.make_thumbnail(Attachment.objects.get(pk=picture).blob_id)
    answer = api.get(f"/api/v1/attachments/{picture}/thumbnail")

    assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert read(answer)[8:12] == b"WEBP"


@pytest.mark.parametrize(("state", "status"), [("pending", 409), ("infected", 403), ("not_scanned", 403)])
def test_what_is_not_known_to_be_clean_does_not_go_out(api: Client, todo: Any, anna: Any, state: str, status: int):
    from django.utils import timezone

    row = send(api, todo, b"x").json()["id"]
    at = timezone.now() if state == ScanState.INFECTED else None
    Blob.objects.update(scan_state=state, scanned_at=at, verdict="Some.Virus" if at else "")

    answer = problem(api.get(f"/api/v1/attachments/{row}/content"), status)
    assert answer["type"].endswith(f"file-{state.replace('_', '-')}")
    page = Client()
    page.force_login(anna)
    assert page.get(f"/files/{row}/").status_code == status
    assert api.get(f"/api/v1/attachments/{row}/").json()["served"] is False


def test_an_operator_has_a_file_scanned_again(api: Client, todo: Any, settings: Any):
    row = send(api, todo, b"x").json()["id"]
    again = caller(operator("otto", "reminders.scan_blob"))
    answer = again.post(f"/api/v1/attachments/{row}/rescan/", {}, "application/json")
    assert "CLAMAV" in problem(answer, 409)["detail"]

    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": "unix:///x"}

    assert again.post(f"/api/v1/attachments/{row}/rescan/", {}, "application/json").json()["state"] == "pending"


def test_a_deleted_file_is_gone_from_the_task_at_once(api: Client, todo: Any):
    row = send(api, todo, b"x").json()["id"]

    assert api.delete(f"/api/v1/attachments/{row}/").status_code == 204
    problem(api.get(f"/api/v1/attachments/{row}/"), 404)
    assert Blob.objects.get().unreferenced_at is not None


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_a_form_of_a_page_needs_its_token_and_goes_back(todo: Any, anna: Any, files: Path, settings: Any):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "MAX_BYTES": 2000}
    page = Client(enforce_csrf_checks=True)
    page.force_login(anna)
    url, token = f"/files/of-task/{todo.pk}/", "a" * 32
    page.cookies["csrftoken"] = token

    def post(name: str, content: bytes, **fields: str) -> Any:
        return page.post(url, {**fields, "file": SimpleUploadedFile(name, content)})

    assert post("a.txt", b"x").status_code == 403
    assert post("a.txt", b"x", csrfmiddlewaretoken=token, next="https://evil.example/")["Location"] == "/"
    assert post("b.txt", b"y", csrfmiddlewaretoken=token, next="/todos/")["Location"] == "/todos/"
    assert post("c.svg", b"<svg/>", csrfmiddlewaretoken=token, next="/todos/")["Location"] == "/todos/"
    assert post("d.txt", b"x" * 3000, csrfmiddlewaretoken=token).status_code == 413
    assert sorted(Attachment.objects.values_list("name", flat=True)) == ["a.txt", "b.txt"]
    assert list((files / "quarantine").glob("*")) == []


@pytest.mark.parametrize("announced", ["5000000000", None])
def test_a_file_that_is_too_large_is_told_on_the_page_it_was_sent_from(
    todo: Any, anna: Any, files: Path, settings: Any, announced: str | None
):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "MAX_BYTES": 2000}
    page = Client()
    page.force_login(anna)
    length: dict[str, Any] = {"CONTENT_LENGTH": announced} if announced else {}

    def sent_from(address: str) -> Any:
        body = {"file": SimpleUploadedFile("a.txt", b"x" * 3000)}
        return page.post(f"/files/of-task/{todo.pk}/", body, headers={"Referer": address}, **length)

    answer = sent_from(f"http://testserver/todos/{todo.pk}/")
    assert answer["Location"] == f"http://testserver/todos/{todo.pk}/"
    assert "The file was not attached: " in page.get(f"/todos/{todo.pk}/").text
    assert [sent_from(other).status_code for other in ("https://evil.example/", "")] == [413, 413]


def test_a_name_with_a_quote_is_kept_as_it_was_typed(todo: Any, anna: Any, files: Path):
    page = Client()
    page.force_login(anna)
    body = b'--x\r\nContent-Disposition: form-data; name=file; filename="a %22q%22.txt"\r\n\r\n1\r\n--x--\r\n'

    page.post(f"/files/of-task/{todo.pk}/", body, "multipart/form-data; boundary=x")

    assert Attachment.objects.get().name == "a _q_.txt"


def test_who_is_not_logged_in_uploads_and_reads_nothing(todo: Any, files: Path):
    answer = Client().post(f"/files/of-task/{todo.pk}/", {"file": SimpleUploadedFile("a.txt", b"x")})

    assert answer.status_code == 302
    assert "login" in answer["Location"]
    assert not (files / "quarantine").exists()
    assert Client().get("/files/1/").status_code == 302
