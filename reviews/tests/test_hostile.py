"""What outsiders may send to cost time, to stop reviews, or to have a secret told."""

import random
import string
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now
from pathspec import PathSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from reviews.analysis import secret_patterns
from reviews.analysis.tools import TOOLS
from reviews.analysis.tools.base import Text
from reviews.changes import Block, Change, FileChange, FileKind, FileStatus, Hunk, Side
from reviews.enrichment import cleaning, redaction
from reviews.llm.pieces import WITHHELD, pieces_of
from reviews.local_source import open_change
from reviews.models import CommentKind, PullRequest, PullRequestReview, Reply, ReplyStatus, Repository
from reviews.paths import BadPattern, PathPatterns
from reviews.policy import ReviewSettings
from reviews.providers.base import FileCoverage, Finding, ReviewResult, Severity
from reviews.services import answering, check_runs, conversing, repo_config, review_text, storing
from reviews.services.addressing import Addressed, Command
from reviews.services.masking import MASK, masker_of
from reviews.services.selecting import Selection
from reviews.standin.repositories import Repo

TOKEN = "gw_live-Zq8-vT4_kW9-xB3_nM7-pL2"


@pytest.fixture
def row(db: None) -> PullRequest:
    repository = Repository.objects.create(full_name="octo/cart", github_id=1)
    return PullRequest.objects.create(repository=repository, number=7, author="ada", head_sha="a" * 40, state="open")


@pytest.fixture
def review(row: PullRequest) -> PullRequestReview:
    return PullRequestReview.objects.create(
        repository=row.repository, pull_request=row, number=7, head_sha=row.head_sha, base_sha="b" * 40, check_run_id=5
    )


def test_a_name_as_long_as_a_name_may_be_stops_no_analyser() -> None:
    tool = next(tool for tool in TOOLS if tool.name == "secrets")
    path = "a." + "b" * 253

    with tool.run({"0": Text(path, "key = 'AKIAQ3EGRZ7LOPWN5XTV'\n")}) as said:
        assert [key for key, _ in said] == ["0"]


@pytest.mark.parametrize("unit", ["/", "sk-"])
def test_a_line_of_a_megabyte_does_not_keep_secrets_from_being_found(unit: str) -> None:
    tool = next(tool for tool in TOOLS if tool.name == "secrets")
    text = (unit * 900_000)[:900_000]

    # One whose time grows with the square of a line's length is ended by the sandbox, and then nothing is said.
    with tool.run({"0": Text("a.py", f"{text}\nkey = 'AKIAQ3EGRZ7LOPWN5XTV'\n")}) as said:
        assert [key for key, _ in said] == ["0"]


@pytest.mark.parametrize(
    "text",
    [
        "key: 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",
        "//registry.npmjs.org/:_authToken=5f2c8a1e-93b7-4d60-8e1f-7a4b9c3d2e60",
        "//registry.npmjs.org/:_authToken=npm_q7Rk2Tz9Lw4Xc8Vb1Nm5Hj3Gf6Ds0Pa",
    ],
)
def test_keys_of_openai_and_npm_are_found(text: str) -> None:
    assert "••••" in secret_patterns.mask(text, "a.py")


@pytest.mark.parametrize(
    "text",
    [
        "finding_budget: 0x" + "f" * 20_000,
        "excluded_labels: [0x" + "f" * 20_000 + "]",
        "finding_budget: 1" + ":10" * 9000,
    ],
)
def test_a_number_that_python_does_not_write_out_is_refused_as_any_other(text: str) -> None:
    with pytest.raises(repo_config.FileRefused, match="too large"):
        repo_config.parse(text.encode())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 200 + "b", "a" * 4000),
        ("**/a/" * 150 + "b", "a/" * 2000 + "c"),
        ("x/" + "?*" * 90 + "b", "x/" + "a" * 250),
    ],
)
def test_a_pattern_of_many_stars_is_matched_without_trying_every_way(pattern: str, path: str) -> None:
    patterns = PathPatterns.of([pattern])  # by a regular expression it would take years
    assert not patterns.matches(path)
    assert patterns.matches(f"{path[:-1]}b")


def test_a_pattern_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadPattern, match="too long"):
        PathPatterns.of(["x" * 2000])


def test_patterns_match_as_in_gitignore() -> None:
    """Against pathspec, whose regular expressions know the same rules."""
    rng = random.Random(3)
    words = ["a", "b", "ab", "*", "**", "?", "a*", "*b", "a*b", "[ab]", "[!a]", "[^b]", "a**b", r"\*", r"\a", ".x"]
    for _ in range(3000):
        parts = [rng.choice(words) for _ in range(rng.randint(1, 4))]
        pattern = rng.choice(["", "", "", "/", "!", "!/"]) + "/".join(parts) + rng.choice(["", "", "/"])
        path = "/".join(rng.choice(["a", "b", "ab", "aab", "c", ".x", "*"]) for _ in range(rng.randint(1, 5)))
        patterns = ["a/", "*b", pattern]
        expected = PathSpec.from_lines(GitIgnoreSpecPattern, patterns).match_file(path)
        assert PathPatterns.of(patterns).matches(path) == expected, (pattern, path)


def test_a_check_run_tells_no_secret_and_mentions_nobody(
    review: PullRequestReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    told: list[Any] = []
    client: Any = SimpleNamespace(update_check_run=lambda *args, output, **more: told.append(output))

    check_runs.end(client, review, "failure", f"The review failed: {TOKEN} @team ![](http://x.test/a)", "")

    (output,) = told
    assert TOKEN not in output.title
    assert MASK in output.title
    assert TOKEN not in output.summary.replace("\\", "")
    assert "@team" not in output.summary
    assert "![](" not in output.summary


def test_a_footer_hides_a_secret_before_it_is_escaped(review: PullRequestReview) -> None:
    outline = review_text.Outline(
        review=review,
        change=Change(base="b" * 40, head="a" * 40, files=()),
        result=ReviewResult(
            provider="embedded",
            findings=(),
            left_out=0,
            coverage=(FileCoverage("a.py", read=False, reason=f"why {TOKEN}"),),
            fallback=f"said {TOKEN}",
            notes=(f"note {TOKEN}",),
        ),
        selection=Selection(),
        settings=ReviewSettings(),
        mask=lambda text: text.replace(TOKEN, MASK),
    )

    text = review_text.body(outline, [])

    assert TOKEN not in text.replace("\\", "")
    assert text.count(MASK) == 3


def test_a_models_answer_hides_a_secret_of_ours_and_one_of_the_change(
    row: PullRequest, review: PullRequestReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviews.llm import asking

    key = "ghp_" + "q7Rk2Tz9Lw4Xc8Vb1Nm5Hj3Gf6Ds0Pa8Ye2U"
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    monkeypatch.setattr(asking, "answer_question", lambda *_, **__: asking.Said(f"it is {TOKEN} and {key}"))
    reply = Reply.objects.create(pull_request=row, kind=CommentKind.ISSUE, comment_id=1, author="ada", body="why?")

    text, _ = conversing._by_model(SimpleNamespace(), reply, "why?", ReviewSettings())  # type: ignore[arg-type]

    plain = text.replace("\\", "")
    assert TOKEN not in plain
    assert key not in plain


def test_the_lines_that_are_kept_of_a_finding_hold_no_secret() -> None:
    key = "ghp_" + "q7Rk2Tz9Lw4Xc8Vb1Nm5Hj3Gf6Ds0Pa8Ye2U"
    rows = [" import os", f"+token = '{key}'", "-x = 1"]

    assert storing._without_secrets(rows, "a.py") == [" import os", "+token = '••••'", "-x = 1"]


def pem() -> list[str]:
    rng = random.Random(1)
    letters = string.ascii_letters + string.digits + "+/"
    body = ["".join(rng.choices(letters, k=64)) for _ in range(25)]
    return ["-----BEGIN RSA PRIVATE KEY-----", *body, "QmFzZQ==", "-----END RSA PRIVATE KEY-----"]


@pytest.mark.parametrize("form", ["{}", '    "{}\\n"', "  {}"])
def test_the_middle_of_a_private_key_is_told_by_the_line_that_it_begins_with(form: str) -> None:
    lines = ["import os", *(form.format(line) for line in pem()), "other = 1"]

    assert secret_patterns.key_rows([line.encode() for line in lines], "a.txt2") == frozenset(range(3, 29))


def test_code_that_speaks_of_private_keys_is_none() -> None:
    code = ['if "-----BEGIN PRIVATE KEY-----" in text:', "    pass", "else:", "    abcdefghijklmnopqrstuvwxyz"]

    assert secret_patterns.key_rows([line.encode() for line in code], "a.py") == frozenset()


@pytest.mark.django_db
def test_the_middle_of_a_key_leaves_neither_to_a_model_nor_to_github_nor_to_the_ledger(repo: Repo) -> None:
    key, new = pem(), [line.swapcase() for line in pem()[12:15]]
    base = repo.commit({"deploy/key": "\n".join(key)})
    head = repo.commit({"deploy/key": "\n".join([*key[:12], *new, *key[15:]])})
    with open_change(repo.path, base, head) as change:
        (file,) = change.files
        sent = "".join(piece.text for piece in pieces_of(file, 10_000, len, frozenset()))
        kept = storing.hunk_text(file, Finding("deploy/key", 13, 13, "R", "m", Severity.HIGH, "", "", "f"))
        posted = masker_of(change, [f"look at {new[1]}"]).mask(f"look at {new[1]}")

    assert WITHHELD in sent
    assert not [line for line in (*key[1:-1], *new) if line in sent or line in kept or line in posted]


def test_a_secret_that_is_taken_out_is_not_sent_to_a_model(repo: Repo) -> None:
    key = "ghp_" + "q7Rk2Tz9Lw4Xc8Vb1Nm5Hj3Gf6Ds0Pa8Ye2U"
    base = repo.commit({"a.py": f"import os\ntoken = '{key}'\nx = 1\n"})
    head = repo.commit({"a.py": "import os\nx = 2\n"})
    with open_change(repo.path, base, head) as change:
        sent = "".join(piece.text for piece in pieces_of(change.files[0], 10_000, len, frozenset()))

    assert key not in sent
    assert f"-{WITHHELD}" in sent


def test_who_may_not_write_is_answered_only_so_often(row: PullRequest) -> None:
    for number in range(answering.MAX_ANSWERS_AN_HOUR):
        Reply.objects.create(
            pull_request=row, kind=CommentKind.ISSUE, comment_id=number + 1, author="Mallory", status=ReplyStatus.DONE,
            finished_at=Now(),
        )  # fmt: skip
    reply = Reply.objects.create(pull_request=row, kind=CommentKind.ISSUE, comment_id=99, author="mallory")
    client: Any = SimpleNamespace(may_write=lambda *_: False)

    status, outcome = answering.answer(client, reply, Addressed(Command.HELP, "help"))

    assert (status, "within an hour" in outcome) == (ReplyStatus.IGNORED, True)


@pytest.mark.parametrize(
    "body", ["-" * 60_000 + " z", "." * 60_000 + " z", "<details " * 7_000, "**a " * 15_000, "eyJ-" * 15_000 + " z"]
)
def test_an_issue_made_to_cost_time_is_cleaned_like_any_other(body: str) -> None:
    # Without bounds, the patterns would go on for minutes, if not for ever.
    cleaned = cleaning.clean("A title", redaction.redact(f"The server stops.\n\n{body}"))

    assert cleaned.paragraphs[0] == "The server stops."


def test_a_secret_at_the_end_of_what_is_shown_leaves_no_half() -> None:
    key = "ghp_" + "Zq7Lm3Xw9Rt5Vb2Nc8Kd4Fg6Hj1PsYuQaTeB"
    content = f"x = '{'a' * 270}' + '{key}'\n".encode()
    block = Block(range(0), range(1, 2))
    hunks = (Hunk(range(0), range(1, 2), (block,)),)
    file = FileChange("a.py", FileStatus.ADDED, None, Side(FileKind.REGULAR, lambda: content), lambda: hunks)

    kept = storing.hunk_text(file, Finding("a.py", 1, 1, "R", "m", Severity.HIGH, "", "", "f"))

    assert key[:12] not in kept
    assert len(kept.split("\n")[1]) <= 301


@pytest.mark.django_db
def test_a_secret_far_into_a_long_message_is_masked() -> None:
    key = "ghp_" + "Zq7Lm3Xw9Rt5Vb2Nc8Kd4Fg6Hj1PsYuQaTeB"
    message = f"{'so ' * 600}{key} is a key"

    assert key not in masker_of(None, [message]).mask(message)
