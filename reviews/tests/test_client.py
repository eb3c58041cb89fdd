"""What the client writes at GitHub, and that the stand-in keeps to GitHub's rules."""

from collections.abc import Iterator
from typing import Any

import pytest

from reviews.github.checks import CheckOutput
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.standin.repositories import Repo
from reviews.standin.server import LOGIN, TOKEN, Standin, serving

NAME = "acme/shop"
LINES = "".join(f"V{number} = {number}\n" for number in range(20))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Two commits, which no test adds to."""
    repo = Repo(tmp_path_factory.mktemp("shop"))
    repo.commit({"a.py": LINES, "gone.py": LINES})
    repo.commit({"a.py": LINES.replace("V9 = 9", "V9 = 10"), "gone.py": None})
    return repo


@pytest.fixture
def standin(shop: Repo) -> Iterator[Standin]:
    with serving(shop) as standin:
        base, head = shop.git("rev-list", "--reverse", "HEAD").split()
        standin.open_pull(7, base, head)
        yield standin


@pytest.fixture
def client(standin: Standin) -> GitHubClient:
    return GitHubClient(standin.url, TOKEN)


@pytest.fixture
def app(standin: Standin) -> GitHubClient:
    """An installation's client."""
    installation = standin.add_app().install(77, NAME)
    installation.tokens["ghs_now"] = standin.now() + 60
    return GitHubClient(standin.url, "ghs_now")


def comment(**changes: Any) -> dict[str, Any]:
    return {"path": "a.py", "line": 10, "side": "RIGHT", "body": "Why?", **changes}


def pend(client: GitHubClient, standin: Standin, *comments: dict[str, Any], body: str = "A review") -> int:
    head = standin.pulls[7]["head"]
    return client.create_pending_review(NAME, 7, head_sha=head, body=body, comments=list(comments))


def test_a_review_is_seen_by_nobody_else_before_it_is_submitted(
    standin: Standin, client: GitHubClient, app: GitHubClient
) -> None:
    made = pend(client, standin, comment())

    assert [(review.id, review.state, review.author) for review in client.reviews(NAME, 7)] == [
        (made, "PENDING", LOGIN)
    ]
    assert [found.body for found in client.comments_of_review(NAME, 7, made)] == ["Why?"]
    assert (list(app.reviews(NAME, 7)), list(app.review_comments(NAME, 7))) == ([], [])

    client.submit_review(NAME, 7, made)

    (review,) = app.reviews(NAME, 7)
    assert (review.state, review.commit_sha) == ("COMMENTED", standin.pulls[7]["head"])
    (told,) = app.review_comments(NAME, 7)
    assert (told.path, told.line, told.review_id, told.thread_id) == ("a.py", 10, made, told.id)


def test_there_is_one_pending_review_for_each_account(
    standin: Standin, client: GitHubClient, app: GitHubClient
) -> None:
    made = pend(client, standin)
    pend(app, standin)
    with pytest.raises(GitHubError, match="only have one pending review") as raised:
        pend(client, standin)
    assert raised.value.status == 422

    client.delete_pending_review(NAME, 7, made)

    again = pend(client, standin)
    client.submit_review(NAME, 7, again)
    for ended in (client.submit_review, client.delete_pending_review):
        with pytest.raises(GitHubError, match="pending"):
            ended(NAME, 7, again)
    client.update_review(NAME, 7, again, "Another text")
    assert standin.posted(7)[0]["body"] == "Another text"


@pytest.mark.parametrize(
    "wrong",
    [
        {"line": 1},
        {"line": 10, "start_line": 10, "start_side": "RIGHT"},
        {"line": 10, "start_line": 1, "start_side": "RIGHT"},
        {"side": "LEFT", "line": 14},
        {"path": "b.py"},
    ],
)
def test_a_comment_beside_the_diff_refuses_the_whole_review(
    standin: Standin, client: GitHubClient, wrong: dict[str, Any]
) -> None:
    with pytest.raises(GitHubError, match="must be part of the diff"):
        pend(client, standin, comment(), comment(**wrong))
    assert standin.reviews == []


def test_lines_of_either_side_of_the_diff_take_comments(standin: Standin, client: GitHubClient) -> None:
    several = comment(start_line=8, start_side="RIGHT")
    pend(client, standin, several, comment(side="LEFT"), comment(path="gone.py", side="LEFT", line=3))

    assert len(standin.comments) == 3


@pytest.mark.parametrize("body", ["", " ", "x" * 65_537])
def test_a_text_that_is_blank_or_too_long_is_refused(client: GitHubClient, standin: Standin, body: str) -> None:
    with pytest.raises(GitHubError, match="422"):
        client.create_issue_comment(NAME, 7, body)
    with pytest.raises(GitHubError, match="422"):
        pend(client, standin, comment(body=body))


def test_a_thread_is_answered_at_its_first_comment(standin: Standin, client: GitHubClient) -> None:
    client.submit_review(NAME, 7, pend(client, standin, comment()))
    (first,) = client.review_comments(NAME, 7)
    theirs = standin.add_reply(first.id, "ada", "Because.")
    ours = client.reply(NAME, 7, first.id, "I see.")

    told = client.thread(NAME, 7, first.id)
    assert [(found.id, found.author, found.body) for found in told] == [
        (first.id, LOGIN, "Why?"),
        (theirs["id"], "ada", "Because."),
        (ours, LOGIN, "I see."),
    ]
    assert client.review_comment(NAME, ours).thread_id == first.id
    with pytest.raises(GitHubError, match="first comment of a thread"):
        client.reply(NAME, 7, ours, "And so on")
    pend(client, standin)
    with pytest.raises(GitHubError, match="one pending review"):
        client.reply(NAME, 7, first.id, "Not now")


def test_comments_on_the_whole_are_written_read_and_changed(standin: Standin, client: GitHubClient) -> None:
    standin.add_issue_comment(7, "ada", "Hello")
    made = client.create_issue_comment(NAME, 7, "Good day")
    client.update_issue_comment(NAME, made, "Good evening")

    assert [(found.author, found.body) for found in client.issue_comments(NAME, 7)] == [
        ("ada", "Hello"),
        (LOGIN, "Good evening"),
    ]
    assert client.issue_comment(NAME, made).body == "Good evening"


def test_a_check_run_is_an_apps(standin: Standin, client: GitHubClient, app: GitHubClient) -> None:
    head = standin.pulls[7]["head"]
    with pytest.raises(GitHubRefused, match="via a GitHub App"):
        client.create_check_run(NAME, name="Switchyard", head_sha=head)

    run = app.create_check_run(NAME, name="Switchyard", head_sha=head, external_id="12")
    app.update_check_run(NAME, run, conclusion="neutral", output=CheckOutput("Reviewed", "Nothing", text="…"))

    (found,) = app.check_runs(NAME, head, "Switchyard")
    assert (found.id, found.status, found.conclusion, found.external_id) == (run, "completed", "neutral", "12")
    assert list(app.check_runs(NAME, head, "Another")) == []
    with pytest.raises(GitHubError, match="65535"):
        app.update_check_run(NAME, run, output=CheckOutput("Reviewed", "x" * 65_536))
    standin.violations.clear()  # which has noticed it too


def test_issues_and_labels_are_read_and_set(standin: Standin, client: GitHubClient) -> None:
    standin.labels = {"bug": "It is broken", "docs": ""}
    standin.open_issue(3, "It breaks", "Often", "ada", "bug")

    client.add_labels(NAME, 3, ["docs"])
    client.add_labels(NAME, 7, ["bug"])
    client.remove_label(NAME, 3, "bug")
    client.remove_label(NAME, 3, "never there")

    issue = client.issue(NAME, 3)
    assert (issue.title, issue.body, issue.author, issue.labels) == ("It breaks", "Often", "ada", ("docs",))
    assert [found.number for found in client.issues(NAME)] == [3]
    assert [(label.name, label.description) for label in client.labels(NAME)] == [("bug", "It is broken"), ("docs", "")]
    assert client.pull(NAME, 7).labels == ("bug",)


@pytest.mark.parametrize(
    ("role", "shown", "writes"),
    [("admin", "admin", True), ("maintain", "write", True), ("triage", "read", False), (None, "none", False)],
)
def test_who_may_write_is_asked_of_github(
    standin: Standin, client: GitHubClient, role: str | None, shown: str, writes: bool
) -> None:
    standin.private = True
    if role:
        standin.people["ada"] = role

    assert (client.permission_of(NAME, "ada"), client.may_write(NAME, "ada")) == (shown, writes)


def test_files_are_read_with_the_id_of_their_blob(standin: Standin, client: GitHubClient) -> None:
    found = client.file_with_id(NAME, "a.py", standin.pulls[7]["base"])

    assert (found.content.decode(), found.sha) == (LINES, standin.repo.git("rev-parse", "HEAD~1:a.py"))
    assert client.repository(NAME).default_branch == standin.default_branch


def test_an_installation_may_do_what_it_was_granted(standin: Standin, app: GitHubClient) -> None:
    standin.apps["Iv1.first"].installations[77].permissions = {"metadata": "read", "pull_requests": "read"}

    assert app.pull(NAME, 7).number == 7
    for refused in (lambda: pend(app, standin), lambda: app.blob(NAME, "a" * 40)):
        with pytest.raises(Exception, match="403"):
            refused()


def test_too_many_writes_meet_githubs_limit(standin: Standin, client: GitHubClient) -> None:
    standin.limits.writes_a_minute = 2
    for _ in range(2):
        client.create_issue_comment(NAME, 7, "Again")

    with pytest.raises(GitHubError, match="secondary rate limit") as raised:
        client.create_issue_comment(NAME, 7, "Again")
    assert raised.value.retry_after_seconds == 60
    assert (standin.limits.refused, len(standin.issue_comments)) == (1, 2)
