"""What an issue's text tells, without any service."""

import pytest

from reviews.enrichment import cleaning, language, redaction, rules, similar, summary, votes, words
from reviews.enrichment.suggested import Suggested, sure

BODY = """### Describe the bug
<!-- Please fill this in.
Thank you! -->
Hi there, thanks for the great project!

When I upload a file larger than 2 GB, the upload fails after 30 seconds. It worked in 3.1.
Since the upgrade to 3.2 every big upload is broken, e.g. videos.

```python
raise ValueError("not prose")
```
> You wrote that this is fixed

- [x] I searched the existing issues
- It also happens with [the command](https://example.com/cli)

2026-01-01 10:00:00 ERROR upload failed
Traceback (most recent call last):
  File "upload.py", line 3, in send
<details><summary>Log</summary>
more of it
</details>
"""


def test_prose_is_what_is_left_without_template_code_logs_and_quotations() -> None:
    cleaned = cleaning.clean("Upload of `big` files fails", BODY)

    assert cleaned.title == "Upload of big files fails"
    assert cleaned.paragraphs == (
        "Hi there, thanks for the great project!",
        "When I upload a file larger than 2 GB, the upload fails after 30 seconds. It worked in 3.1. "
        "Since the upgrade to 3.2 every big upload is broken, e.g. videos.",
        "It also happens with the command",
    )


def test_an_unclosed_fence_or_comment_takes_the_rest_and_no_more_time() -> None:
    assert cleaning.clean("t", "One.\n```\ncode\n" + "x = 1\n" * 1000).body == "One."
    assert cleaning.clean("t", "One.\n<!-- " + "<!-- " * 20_000).body == "One."


def test_long_texts_are_cut() -> None:
    cleaned = cleaning.clean("t", "A sentence of some words here. " * 1000)

    assert (len(cleaned.body), cleaned.cut) == (cleaning.MAX_CHARACTERS, True)


def test_lines_that_many_issues_share_are_the_template() -> None:
    bodies = [f"**What happened?**\nThe thing {number} broke.\nI agree to the rules." for number in range(10)]
    template = cleaning.template_lines(bodies)

    assert cleaning.clean("t", "The thing 3 broke now.\n* I agree to the rules", template).body == (
        "The thing 3 broke now."
    )


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to ada.l@example.co.uk now", "write to [mail] now"),
        ("at 84.12.33.4:80 and 127.0.0.1", "at [address]:80 and 127.0.0.1"),
        ("2001:db8::8a2e:370:7334 answers", "[address] answers"),
        ("in /home/ada/x and C:\\Users\\Ada\\y", "in /home/[user]/x and C:\\Users\\[user]\\y"),
        (f"ghp_{'a' * 36} leaked", "[token] leaked"),
        ("password = hunter22!", "password = [secret]"),
        ("postgres://ada:pw@db/x", "postgres://[secret]@db/x"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [token]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----", "[key]"),
        ("version 1.2.3 at 10:20:30, v1.2.3.4567", "version 1.2.3 at 10:20:30, v1.2.3.4567"),
    ],
)
def test_what_names_a_person_or_opens_a_door_is_taken_out(text: str, redacted: str) -> None:
    assert redaction.redact(text) == redacted


def test_the_summary_is_the_two_sentences_that_say_most() -> None:
    found = summary.summarise(cleaning.clean("Upload of big files fails", BODY))

    assert found.text == (
        "When I upload a file larger than 2 GB, the upload fails after 30 seconds. "
        "Since the upgrade to 3.2 every big upload is broken, e.g. videos."
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "It hangs."),
        ("The page hangs for a minute. Thanks!", "It hangs. The page hangs for a minute."),
        ("```\nonly code\n```", "It hangs."),
    ],
)
def test_of_a_text_with_few_sentences_the_title_and_the_first_are_told(body: str, text: str) -> None:
    assert summary.summarise(cleaning.clean("It hangs", body)).text == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The upload fails when the file is large and there is no error", "en"),
        ("Das Hochladen von Dateien ist nicht möglich, wenn der Server voll ist", "de"),
        ("Le fichier est trop grand et il ne se passe rien avec la nouvelle version", "fr"),
        ("ファイルのアップロードが失敗します", "ja"),
        ("Загрузка файла не работает", "ru"),
        ("0x3f 17 foo_bar", ""),
    ],
)
def test_the_language_is_told_or_left_open(text: str, code: str) -> None:
    assert language.detect(text) == code


def test_a_titles_beginning_and_a_labels_own_name_make_labels() -> None:
    labels = ["type: bug", "docs", "area/parser", "good first issue", "priority: high", "duplicate"]

    found = rules.by_rules("[Bug] Parser: a duplicate key has high priority", labels)

    assert sorted((one.name, one.source) for one in found) == [("area/parser", "rule"), ("type: bug", "rule")]
    assert [one.name for one in rules.by_rules("docs(cli): explain it", labels)] == ["docs"]
    assert rules.by_rules("Compare parsers' documents", ["compar", "docs"]) == []


def test_neighbours_vote_when_enough_of_them_are_labelled() -> None:
    near = [(issue, 0.9 - issue / 100) for issue in range(8)]
    labels_of = {issue: ["bug"] for issue in range(8)} | {7: ["bug", "docs"]}

    found = sure(votes.by_neighbours(near, labels_of, ["bug", "docs"]))

    assert [(one.name, one.reason) for one in found] == [("bug", "8 of the 8 nearest labelled issues have it")]
    assert votes.by_neighbours(near[:3], labels_of, ["bug"]) == []
    assert votes.by_neighbours(near, labels_of, ["docs"])[0].confidence < 0.2


def test_what_is_not_sure_is_not_suggested_and_a_rule_goes_before_a_model() -> None:
    found = [Suggested("bug", "ai", 0.99, "", ""), Suggested("bug", "rule", 0.85, "", "")]

    assert [one.source for one in sure([*found, Suggested("docs", "ai", 0.79, "", "")])] == ["rule"]


def test_similar_issues_are_told_with_the_rare_words_that_they_share() -> None:
    index = similar.TermIndex()
    for number in range(20):
        index.put(number, words.terms(f"Colour {number} of the button", "It is too bright."))
    index.put(77, words.terms("Another thing", "It was edited later."))
    index.put(77, words.terms("Large upload stops", "It fails after a while."))
    index.put(78, mine := words.terms("Upload of large files fails", "The upload stops after 30 seconds."))

    (found,) = index.nearest(mine, exclude=78)

    assert found.issue == 77
    assert found.score > 0.3
    assert "upload" in found.reason
    assert index.nearest(words.terms("Nothing", "of it is known")) == []
    assert similar.TermIndex().nearest(mine) == []
