"""What of a change is sent to a language model, in which order and how much of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews.changes import Change, ContentUnavailable, FileChange, FileKind, FileStatus, Side, whole_file
from reviews.llm.budget import FILE_SHARE, PIECE_TOKENS, Limits, Plan, coverage, estimator, plan
from reviews.llm.pieces import pieces_of
from reviews.llm.risk import Risk, by_risk, risk_of
from reviews.paths import PathPatterns
from reviews.tests.llm_helpers import added, change_of, hunk, modified

TOKENS = estimator()
LIMIT = "beyond the limit"


def source(lines: int, name: str = "step") -> str:
    """Functions of ten lines each, a blank line between them."""
    rows = [
        f"def {name}_{at}(value):" if at % 10 == 0 else "" if at % 10 == 9 else f"    value += {at}"
        for at in range(lines)
    ]
    return "\n".join(rows) + "\n"


def sent_rows(made: Plan, path: str) -> list[int]:
    texts = [piece.text for request in made.requests for piece in request.pieces if piece.path == path]
    return [int(row) for text in texts for row in re.findall(r"^ *(\d+) \+", text, re.MULTILINE)]


def test_lines_have_the_new_files_numbers_and_their_signs() -> None:
    before, after = "a\nb\nc\nd\n", "a\nB\nBB\nc\nd\n"
    file = modified("x.py", before, after, hunk(range(1, 5), range(1, 6), (range(2, 3), range(2, 4))))
    (piece,) = pieces_of(file, 1000, TOKENS, frozenset())

    assert piece.text.split("\n") == ["     1  a", "       -b", "     2 +B", "     3 +BB", "     4  c", "     5  d"]
    assert (piece.first, piece.last, piece.changed) == (1, 5, 3)


def test_a_block_that_only_removes_is_shown_where_it_stood() -> None:
    file = modified("x.py", "a\nb\nc\n", "a\nc\n", hunk(range(1, 4), range(1, 3), (range(2, 3), range(0))))
    (piece,) = pieces_of(file, 1000, TOKENS, frozenset())

    assert piece.text.split("\n") == ["     1  a", "       -b", "     2  c"]


def test_removed_lines_that_cannot_be_had_are_counted() -> None:
    file = modified("x.py", "", "a\nB\n", hunk(range(1, 3), range(1, 3), (range(2, 3), range(2, 3))))

    def away() -> bytes:
        raise ContentUnavailable("gone")

    broken = FileChange("x.py", FileStatus.MODIFIED, Side(FileKind.REGULAR, away), file.head, lambda: file.hunks)
    (piece,) = pieces_of(broken, 1000, TOKENS, frozenset())
    assert "[1 removed lines, which cannot be shown]" in piece.text


def test_a_large_hunk_is_cut_where_functions_begin_and_nothing_is_lost() -> None:
    pieces = list(pieces_of(added("x.py", source(400)), 300, TOKENS, frozenset()))

    assert len(pieces) > 5
    assert all(piece.tokens <= 300 for piece in pieces)
    assert all(re.match(r" *\d+ \+def ", piece.text) for piece in pieces[1:])
    rows = [int(row) for piece in pieces for row in re.findall(r"^ *(\d+) \+", piece.text, re.MULTILINE)]
    assert rows == list(range(1, 401))


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=600), min_size=1, max_size=40), st.integers(20, 400))
def test_pieces_hold_every_added_line_once_whatever_is_in_it(lines: list[str], most: int) -> None:
    text = "\n".join(line.replace("\n", " ") for line in lines) + "\n"
    if "\0" in text:
        return
    pieces = list(pieces_of(added("x.py", text), most, TOKENS, frozenset()))
    rows = [row for piece in pieces for row in piece.text.split("\n")]

    assert [int(row[:6]) for row in rows] == list(range(1, text.count("\n") + 1))
    assert all(len(row) < 420 and all(char.isprintable() or char == "\t" for char in row) for row in rows)


def test_lines_with_a_secret_are_not_sent() -> None:
    (piece,) = pieces_of(added("x.py", "a = 1\nKEY = 'hunter2-hunter2'\n"), 1000, TOKENS, frozenset({2}))
    assert "hunter2" not in piece.text
    assert "holds a secret" in piece.text


def test_the_riskiest_files_come_first_and_the_largest_of_them() -> None:
    paths = ["uv.lock", "README.md", "tests/test_a.py", "setup.cfg", "shop/cart.py", "shop/auth/login.py", "data.csv"]
    files = [added(path, source(10)) for path in paths] + [added("shop/big.py", source(50))]

    assert [file.path for file in by_risk(files)] == [
        "shop/auth/login.py", "shop/big.py", "shop/cart.py", "setup.cfg", "tests/test_a.py", "README.md",
        "data.csv", "uv.lock",
    ]  # fmt: skip
    assert risk_of("tests/test_login.py") == Risk.TESTS
    assert risk_of(".github/workflows/ci.yml") == Risk.SENSITIVE
    assert risk_of("package-lock.json") == Risk.GENERATED


def test_no_file_has_more_than_its_share_while_others_wait() -> None:
    change = change_of(added("huge.py", source(5000)), *(added(f"small{at}.py", source(40)) for at in range(20)))
    limits = Limits(room=8000, requests=3)
    made = plan(change, limits, TOKENS)

    assert len(made.requests) == 3
    first_place = [request.of_file["huge.py"] for request in made.requests]
    assert all(request.used <= limits.room for request in made.requests)
    assert all(sent_rows(made, f"small{at}.py") for at in range(20))
    # Nothing else waited in the end, so the rest of the room is the large file's.
    assert max(first_place) > FILE_SHARE * limits.room
    (told,) = [file for file in coverage(change, made, [], LIMIT) if file.path == "huge.py"]
    assert told.read
    assert LIMIT in told.reason
    assert "lines" in told.reason


def test_a_small_change_is_one_request() -> None:
    change = change_of(*(added(f"m{at}.py", source(60)) for at in range(4)))
    made = plan(change, Limits(room=20_000, requests=8), TOKENS)

    assert len(made.requests) == 1
    assert all(file.read and not file.reason for file in coverage(change, made, [], LIMIT))


def test_a_single_large_file_fills_few_requests_rather_than_a_quarter_of_many() -> None:
    made = plan(change_of(added("one.py", source(1500))), Limits(room=10_000, requests=8), TOKENS)
    assert len(made.requests) <= 3
    assert sorted(sent_rows(made, "one.py")) == list(range(1, 1501))


def test_what_cannot_be_sent_is_told_with_its_reason() -> None:
    def away() -> bytes:
        raise ContentUnavailable("GitHub does not give its content (404)")

    away_side = Side(FileKind.REGULAR, away)
    change = change_of(
        added("app.py", source(20)),
        added("picture.png", "\0\1\2"),
        added("vendor/x.py", source(10)),
        FileChange("link", FileStatus.ADDED, None, Side(FileKind.SYMLINK, lambda: b"x"), lambda: ()),
        FileChange("gone.py", FileStatus.DELETED, away_side, None, lambda: ()),
        FileChange("lost.py", FileStatus.ADDED, None, away_side, lambda: whole_file(away())),
    )
    made = plan(change, Limits(room=5000, requests=2), TOKENS, PathPatterns.of(["vendor/"]))
    told = {file.path: (file.read, file.reason) for file in coverage(change, made, [], LIMIT)}

    assert told == {
        "app.py": (True, ""),
        "picture.png": (False, "binary"),
        "vendor/x.py": (False, "excluded"),
        "link": (False, "a symbolic link"),
        "gone.py": (True, "deleted, so nothing in it can be new"),
        "lost.py": (False, "GitHub does not give its content (404)"),
    }


def test_pieces_that_were_not_answered_are_told_with_why() -> None:
    change = change_of(added("a.py", source(20)))
    made = plan(change, Limits(room=5000, requests=2), TOKENS)
    (told,) = coverage(change, made, [(piece, "it was capped") for piece in made.requests[0].pieces], LIMIT)

    assert (told.read, told.reason) == (False, "it was capped")


def test_no_room_is_told_for_every_file() -> None:
    change = change_of(added("a.py", source(20)))
    made = plan(change, Limits(room=100, requests=2), TOKENS)
    assert not made.requests
    assert not coverage(change, made, [], LIMIT)[0].read


@pytest.mark.long
def test_three_thousand_files_and_one_of_seventeen_megabytes_are_loaded_no_further_than_needed() -> None:
    loaded: list[str] = []

    def file(path: str, text: str) -> FileChange:
        made = added(path, text)
        assert made.head is not None
        load = made.head.load

        def noted() -> bytes:
            loaded.append(path)
            return load()

        side = Side(FileKind.REGULAR, noted)
        return FileChange(path, FileStatus.ADDED, None, side, lambda: made.hunks)

    text = source(100)
    files = [file(f"src/m{at}.py", text) for at in range(3000)]
    files.append(file("src/data.jsonl", "{}\n" * 5_900_000))
    change = Change("b", "a", tuple(files))
    made = plan(change, Limits(room=10_000, requests=4), TOKENS)
    told = coverage(change, made, [], LIMIT)

    assert len(loaded) < 300
    assert sum(request.used for request in made.requests) > 0.9 * 40_000
    assert sum(not one.read for one in told) > 2700
    assert all(one.reason == LIMIT for one in told if not one.read)


def test_the_estimate_is_corrected() -> None:
    assert estimator()("x" * 320) == 100
    assert estimator(1.5)("x" * 320) == 150
    assert PIECE_TOKENS > 0
