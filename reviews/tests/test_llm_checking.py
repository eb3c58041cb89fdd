"""What of a language model's answer is believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews.changes import FileChange
from reviews.llm import checking
from reviews.llm.checking import INVENTED, OUT_OF_DIFF, TOO_LONG, TOO_MANY, TWICE, UNSURE, Checked, Checker, merged
from reviews.llm.errors import LlmInvalid
from reviews.llm.schema import FoundByLlm, ReviewAnswer, parse
from reviews.providers.base import Finding, Severity
from reviews.tests.llm_helpers import found, hunk, modified, review_of

BEFORE = "def total(items):\n    result = 0\n    return result\n\n\nprint(1)\n"
LOOP = "    for at in range(len(items) + 1):"
AFTER = BEFORE.replace("= 0\n", f"= 0\n{LOOP}\n        result += items[at]\n").replace("print(1)", "print(2)")


def file() -> FileChange:
    first = hunk(range(1, 4), range(1, 6), (range(0), range(3, 5)))
    return modified("a.py", BEFORE, AFTER, first, hunk(range(5, 7), range(7, 9), (range(6, 7), range(8, 9))))


def checked(*answered: dict[str, Any]) -> Checked:
    made = Checked()
    Checker([file()], "claude", 0.6).check([FoundByLlm.model_validate(one) for one in answered], made)
    return made


def test_a_finding_on_changed_lines_is_taken_with_a_fingerprint_like_the_embedded_ones() -> None:
    (finding,) = checked(found("a.py", 3, LOOP, end_line=4)).findings

    assert (finding.path, finding.line, finding.end_line) == ("a.py", 3, 4)
    assert (finding.rule, finding.category, finding.provider, finding.symbol) == ("llm/bug", "bug", "claude", "total")
    assert finding.severity is Severity.HIGH
    assert finding.fingerprint == checking.fingerprint("llm/bug", LOOP.strip(), "total")


def test_lines_added_above_leave_the_fingerprint() -> None:
    moved = modified(
        "a.py",
        BEFORE,
        "import os\n" + AFTER,
        hunk(range(1, 4), range(1, 7), (range(0), range(1, 2)), (range(0), range(4, 6))),
    )
    later = Checked()
    Checker([moved], "claude", 0.6).check([FoundByLlm.model_validate(found("a.py", 4, LOOP))], later)

    assert later.findings[0].fingerprint == checked(found("a.py", 3, LOOP)).findings[0].fingerprint


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (found("/etc/passwd", 3, LOOP), OUT_OF_DIFF),
        (found("b.py", 3, LOOP), OUT_OF_DIFF),
        (found("a.py", 1, "def total(items):"), OUT_OF_DIFF),
        (found("a.py", 10**30, "no such line"), OUT_OF_DIFF),
        (found("a.py", -5, ""), OUT_OF_DIFF),
        (found("a.py", 3, "os.system(items)"), INVENTED),
        (found("a.py", 3, LOOP, confidence=0.3), UNSURE),
        (found("a.py", 3, LOOP, message="x" * 1501), TOO_LONG),
        (found("a.py", 3, LOOP, message=" \n\x07 "), TOO_LONG),
    ],
)
def test_what_cannot_be_right_is_dropped_and_counted(answered: dict[str, Any], reason: str) -> None:
    made = checked(answered)

    assert made.findings == []
    assert made.dropped == {reason: 1}
    assert f"1 {reason}" in made.notes[0]


def test_a_wrong_number_is_set_right_by_the_quoted_line() -> None:
    (finding,) = checked(found("a.py", 8, LOOP)).findings
    assert finding.line == 3


def test_lines_that_reach_beyond_the_changed_ones_are_cut_to_them_and_lose_the_suggestion() -> None:
    (finding,) = checked(found("a.py", 3, LOOP, end_line=8, suggestion="    pass")).findings
    assert (finding.line, finding.end_line, finding.suggestion) == (3, 4, None)


@pytest.mark.parametrize(
    ("suggestion", "kept"),
    [
        ("    for at in range(len(items)):", "    for at in range(len(items)):"),
        ("    for at in range(len(items)):\n", "    for at in range(len(items)):"),
        (LOOP, None),
        ("```\nx", None),
        ("x\x1b[2J", None),
        ("x\n" * 100, None),
        (None, None),
    ],
)
def test_suggestions_are_code_for_exactly_these_lines(suggestion: str | None, kept: str | None) -> None:
    (finding,) = checked(found("a.py", 3, LOOP, suggestion=suggestion)).findings
    assert finding.suggestion == kept


def test_more_than_fifty_are_not_looked_at() -> None:
    made = checked(*[found("a.py", 3, LOOP)] * 53)
    assert (len(made.findings), made.dropped[TOO_MANY]) == (50, 3)
    assert len(merged((), made)) == 1  # the same one


def embedded(**values: Any) -> Finding:
    fields: dict[str, Any] = {
        "path": "a.py", "line": 3, "end_line": 3, "rule": "B007", "message": "loop variable unused in the body",
        "severity": Severity.LOW, "source_line": "", "symbol": "total", "fingerprint": "f", "category": "bug",
    }  # fmt: skip
    return Finding(**{**fields, **values})


def test_what_the_embedded_reviewer_has_too_stays_its_finding_with_the_models_suggestion() -> None:
    made = checked(
        found("a.py", 3, LOOP, suggestion="    for _ in items:"), found("a.py", 8, "print(2)", category="test")
    )
    first, second = merged([embedded()], made)

    assert (first.provider, first.line, second.rule, second.suggestion) == ("claude", 8, "B007", "    for _ in items:")
    assert made.dropped[TWICE] == 1
    assert made.notes == ()


def test_other_problems_of_the_same_line_are_both_told() -> None:
    made = checked(found("a.py", 3, LOOP, category="security", message="Reads beyond what the caller may see."))
    assert len(merged([embedded()], made)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON|Invalid JSON"),
        ("I found nothing.", "Invalid JSON"),
        ("[]", "valid dictionary|object"),
        ('{"summary": "x"}', "findings: Field required"),
        (json.dumps(review_of(found("a", 1, "x", severity="blocker"))), "findings.0.severity"),
        (json.dumps(review_of(found("a", 1, "x", confidence=7))), "findings.0.confidence"),
        (json.dumps({**review_of(), "tool": "rm -rf"}), "tool: Extra inputs"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_answers_that_are_none_say_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(LlmInvalid, match=told):
        parse(ReviewAnswer, text)


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Here it is:\n{}\nDone.", "\n  {}  \n"])
def test_json_is_found_in_what_stands_around_it(around: str) -> None:
    text = around.replace("{}", json.dumps(review_of(found("a", 1, "```"))))
    assert len(parse(ReviewAnswer, text).findings) == 1


ANY = st.builds(
    found,
    st.sampled_from(["a.py", "b/a.py", "x", ""]) | st.text(max_size=5),
    st.integers(-3, 12) | st.integers(),
    st.sampled_from([LOOP, "print(2)", "", "result"]) | st.text(max_size=10),
    end_line=st.integers(-3, 12) | st.integers(),
    message=st.text(max_size=40),
    suggestion=st.none() | st.text(max_size=40),
    confidence=st.floats(0, 1),
)


@given(st.lists(ANY, max_size=8))
def test_whatever_is_answered_what_is_taken_stands_on_changed_lines_of_one_hunk(answered: list[dict[str, Any]]) -> None:
    change = file()
    made = checked(*answered)

    assert len(made.findings) + sum(made.dropped.values()) == len(answered)
    for finding in made.findings:
        assert finding.path == "a.py"
        assert all(line in change.changed_lines for line in range(finding.line, finding.end_line + 1))
        assert change.hunk_of(finding.line) is change.hunk_of(finding.end_line)
        assert finding.message.isprintable()
