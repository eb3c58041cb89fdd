"""`manage.py documents`: files of every kind of damage, syncs, and what an import says of itself."""

import gzip
import json
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from embeddings.models import Collection, Document
from embeddings.services import documents, importing, reading
from embeddings.tests.factories import make_collection
from jobs.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def notes() -> Collection:
    return make_collection("notes", fast_encoder="")


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(content: bytes | list[Any], name: str = "some.jsonl") -> str:
        lines = content if isinstance(content, bytes) else b"".join(json.dumps(one).encode() + b"\n" for one in content)
        (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
        return str(tmp_path / name)

    return write


class Ran:
    """code: the exit code. out, err: what it said."""

    def __init__(self, *arguments: str) -> None:
        out, err = StringIO(), StringIO()
        self.code = 0
        try:
            call_command("documents", *arguments, "--collection", "notes", stdout=out, stderr=err)
        except CommandError as exc:
            self.code, _ = exc.returncode, err.write(str(exc))
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def texts() -> dict[str, str]:
    return dict(Document.objects.filter(collection__name="notes").values_list("external_id", "text"))


# --- JSON lines ------------------------------------------------------------------------------------------------------


def test_lines_with_a_byte_order_mark_blank_lines_and_carriage_returns_are_read(file: Any) -> None:
    ran = Ran("import", file(b'\xef\xbb\xbf{"id": "a", "text": "one"}\r\n\r\n  \n{"id": "b", "text": "t\xc3\xa9"}'))

    assert (ran.code, ran.out) == (0, "2 created, 0 updated, 0 unchanged, 0 bad\n")
    assert "manage.py embed list --collection notes shows how far" in ran.err
    assert texts() == {"a": "one", "b": "té"}
    assert "embed list" not in Ran("import", file([{"id": "c", "text": "new"}]), "--json").err


def test_bad_lines_are_told_with_their_numbers_and_written_apart(file: Any, tmp_path: Path) -> None:
    lines = [
        *(b'{"id": "a", "text": "one"}', b"not json", b'{"id": "b", "text": "\xff"}', b'{"id": "c"}'),
        *(
            b'{"id": "d", "text": "\\u0000"}',
            b'{"id": "e", "text": "\\ud800"}',
            b'{"id": "f", "text": "x", "metadata": 1}',
        ),
        *(
            b"[]",
            b'{"id": "g", "text": "x", "metadata": {"n": NaN}}',
            b"\x00\x01\x02\xfe",
            b'{"id": "h", "text": "last"}',
        ),
    ]
    bad = tmp_path / "bad.jsonl"

    ran = Ran("import", file(b"\n".join(lines)), "--json", "--bad", str(bad))

    assert ran.code == 1
    assert texts() == {"a": "one", "h": "last"}
    assert (ran.json["created"], ran.json["bad"], ran.json["lines"]) == (2, 9, 11)
    assert sorted(error["line"] for error in ran.json["errors"]) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    written = [json.loads(line) for line in bad.read_text().splitlines()]
    assert {(one["line"], one["id"]) for one in written} >= {(2, ""), (4, "c"), (7, "f")}
    assert next(one["content"] for one in written if one["line"] == 2) == "not json"
    assert "line 3: is not JSON: byte 21 is not UTF-8" in ran.err


def test_a_line_of_ten_megabytes_is_refused_by_itself(file: Any) -> None:
    long = json.dumps({"id": "long", "text": "x" * 10_000_000}).encode()

    ran = Ran("import", file(long + b"\n" + b'{"id": "a", "text": "one"}\n'))

    assert (ran.code, texts()) == (1, {"a": "one"})
    assert "text has 10,000,000 characters" in ran.err


def test_a_line_that_is_too_long_to_be_read_is_skipped_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 40)
    stream = BytesIO(b"x" * 200 + b"\n" + b'{"id": "a", "text": "one"}\n' + b"y" * 100)

    lines = list(reading.read(stream, "jsonl"))

    assert [(line.number, bool(line.error)) for line in lines] == [(1, True), (2, False), (3, True)]
    assert "more than 40 bytes" in lines[0].error


def test_a_gzipped_file_is_unzipped_and_a_damaged_one_is_refused(file: Any) -> None:
    path = file([{"id": str(number), "text": f"text {number}"} for number in range(50)], "some.jsonl.gz")
    assert Ran("import", path).code == 0
    assert len(texts()) == 50
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:-20])

    ran = Ran("import", path)

    assert ran.code == 2
    assert "gzip file is damaged" in ran.err


def test_the_later_of_two_lines_with_one_id_counts(file: Any) -> None:
    ran = Ran("import", file([{"id": "a", "text": "first"}, {"id": "b", "text": "x"}, {"id": "a", "text": "second"}]))

    assert (ran.code, texts()["a"]) == (0, "second")


def test_a_second_import_changes_nothing(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_ITEMS", 7)
    path = file([{"id": str(number), "text": f"text {number}"} for number in range(30)])
    Ran("import", path)

    again = Ran("import", path)
    assert (again.out, again.err) == ("0 created, 0 updated, 30 unchanged, 0 bad\n", ""), "nothing follows"
    (entry,) = AuditEntry.objects.filter(action="documents.import")
    assert entry.detail == {"created": 30, "updated": 0, "deleted": 0}


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard:
        buffer = BytesIO(b'{"id": "a", "text": "one"}\n')

    monkeypatch.setattr("sys.stdin", Standard)

    assert Ran("import", "-").code == 0
    assert texts() == {"a": "one"}


def test_what_cuts_an_import_off_leaves_what_was_committed_and_says_how_far(
    file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_ITEMS", 10)
    real, calls = documents.put, []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(documents, "put", interrupted)
    out, err = StringIO(), StringIO()

    with pytest.raises(SystemExit) as stopped:
        call_command(
            "documents",
            *("import", file([{"id": str(number), "text": "x"} for number in range(50)]), "--collection", "notes"),
            stdout=out,
            stderr=err,
        )
    assert stopped.value.code == 130
    assert "stopped after line 20: 20 created" in err.getvalue()
    assert len(texts()) == 20


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_columns_beside_id_and_text_are_metadata(file: Any) -> None:
    content = 'kind,id,text,metadata\r\nnote,1,"two\nlines, ""quoted""","{""n"": 1}"\r\n,2,plain,\r\n'

    assert Ran("import", file(content.encode(), "some.csv")).code == 0
    assert texts() == {"1": 'two\nlines, "quoted"', "2": "plain"}
    metadata = dict(Document.objects.values_list("external_id", "metadata"))
    assert metadata == {"1": {"n": 1, "kind": "note"}, "2": {}}


def test_bad_rows_are_told_with_the_line_that_they_begin_on(file: Any) -> None:
    content = (
        b'id,text,metadata,groups\n1,"a\nb",,\n2,short\n3,\xff,,\n4,x,nope,\n5,x,,nobody\n6,x,[1],\n'
        b'7,"good",,\n8,"open,,\n9,x,,\n'
    )

    ran = Ran("import", file(content, "some.csv"), "--json")

    assert texts() == {"1": "a\nb", "7": "good"}
    told = {error["line"]: error["error"] for error in ran.json["errors"]}
    assert sorted(told) == [4, 5, 6, 7, 8, 10]
    assert "has 2 columns" in told[4]
    assert "not UTF-8" in told[5]
    assert "metadata is not JSON" in told[6]
    assert "no group 'nobody'" in told[7]
    assert "metadata is a list" in told[8]
    assert "is not CSV" in told[10]


@pytest.mark.parametrize(
    ("header", "said"),
    [(b"id,body\n", "no column text"), (b"", "no column id and no text"), (b"id,text,k,k\n", "twice")],
)
def test_a_csv_whose_first_line_does_not_fit_is_wrong_use(file: Any, header: bytes, said: str) -> None:
    ran = Ran("import", file(header, "some.csv"))

    assert ran.code == 2
    assert said in ran.err


# --- sync ------------------------------------------------------------------------------------------------------------


def stored(*ids: str) -> None:
    documents.put(None, "notes", [{"id": one, "text": f"text {one}"} for one in ids])


def test_a_sync_deletes_what_the_file_does_not_hold_in_this_collection_alone(file: Any) -> None:
    stored("a", "b", "c", "d")
    other = make_collection("other", fast_encoder="")
    documents.put(None, other, [{"id": "z", "text": "x"}])

    ran = Ran("import", file([{"id": one, "text": f"text {one}"} for one in ("a", "b", "e")]), "--replace")

    assert (ran.code, ran.out) == (0, "1 created, 0 updated, 2 unchanged, 2 deleted, 0 bad\n")
    assert sorted(texts()) == ["a", "b", "e"]
    assert Document.objects.filter(collection=other).count() == 1


def test_a_sync_that_would_delete_more_than_half_is_refused_unless_forced(file: Any) -> None:
    stored("a", "b", "c", "d")
    path = file([{"id": "a", "text": "new"}])

    ran = Ran("import", path, "--replace")

    assert ran.code == 1
    assert "does not hold 3 of the 4 documents" in ran.err
    assert texts() == {"a": "new", **{one: f"text {one}" for one in "bcd"}}
    assert Ran("import", path, "--replace", "--force").code == 0
    assert texts() == {"a": "new"}


def test_a_sync_with_bad_lines_deletes_nothing_unless_forced(file: Any) -> None:
    stored("a", "b", "c")
    path = file(b'{"id": "a", "text": "text a"}\n{"id": "b", "text": "text b"}\n{"id": "c", "text": ""}\n')

    ran = Ran("import", path, "--replace")

    assert ran.code == 1
    assert "because 1 lines were bad" in ran.err
    assert sorted(texts()) == ["a", "b", "c"]


def test_a_sync_spares_what_came_from_elsewhere_meanwhile(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stored("a", "b")
    real = documents.put

    def and_another(*arguments: Any, **named: Any) -> Any:
        stored_now = real(None, "notes", [{"id": "elsewhere", "text": "x"}])
        assert not stored_now.errors
        return real(*arguments, **named)

    monkeypatch.setattr(documents, "put", and_another)

    assert Ran("import", file([{"id": "a", "text": "text a"}]), "--replace").code == 0
    assert sorted(texts()) == ["a", "elsewhere"]


# --- the rest --------------------------------------------------------------------------------------------------------


def test_documents_are_listed_shown_and_deleted() -> None:
    stored("b/1", "a/1", "b/2")

    assert [row["id"] for row in Ran("list", "--json", "--search", "b/").json] == ["b/1", "b/2"]
    assert Ran("list", "--state", "pending").out.count("pending") == 3
    assert "text a/1" in Ran("show", "a/1").out
    assert Ran("delete", "a/1", "b/1").out == "2 deleted\n"
    ran = Ran("delete", "a/1", "b/2", "--json")
    assert (ran.code, ran.json) == (1, {"deleted": 1, "unknown": 1})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "/nowhere.jsonl"], "cannot be read: No such file"),
        (["import", __file__], "is not told by its ending"),
        (["import", "/tmp", "--format", "jsonl"], "cannot be read: Is a directory"),
        (["import", "-", "--force"], "--force goes with --replace"),
        (["import", "-", "--bad", "/nowhere/bad"], "cannot be written"),
        (["list", "--limit", "0"], "--limit is 0"),
        (["show", "nothing"], "no document 'nothing'"),
        (["delete", "x" * 300], "300 characters"),
    ],
)
def test_wrong_use_is_told_as_such(arguments: list[str], said: str) -> None:
    ran = Ran(*arguments)

    assert ran.code == 2
    assert said in ran.err


def test_a_text_from_outside_cannot_steer_the_terminal() -> None:
    documents.put(None, "notes", [{"id": "a\x1b[2J", "text": "\x1b[31mred"}])

    assert "\x1b" not in Ran("list").out + Ran("show", "a\x1b[2J").out


def test_a_file_that_is_not_there_and_a_folder_are_told_as_such(tmp_path: Path) -> None:
    missing, folder = Ran("import", str(tmp_path / "nowhere")), Ran("import", str(tmp_path))

    assert (missing.code, folder.code) == (2, 2)
    assert "nowhere cannot be read: No such file or directory" in missing.err
    assert "cannot be read: Is a directory" in folder.err


def test_a_line_without_an_id_is_written_apart_with_its_number_and_what_it_holds(file: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    Ran("import", file(b'{"id": "a", "text": "one"}\n{"id": 7, "text": "two"}\n'), "--bad", str(bad))

    (written,) = [json.loads(line) for line in bad.read_text().splitlines()]
    assert (written["line"], written["id"], written["content"]) == (2, "", '{"id": 7, "text": "two"}')
