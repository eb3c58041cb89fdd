"""The operators' commands: what they print, their exit codes, and that secrets come from files alone."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from jobs.models import AuditEntry, Job
from reviews.models import (
    Delivery,
    Finding,
    GitHubAccess,
    LlmCall,
    LlmProvider,
    PullRequestReview,
    Repository,
    ReviewStatus,
)
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Standin, serving
from reviews.tests.test_operators_api import a_delivery, a_finding, a_review, repository

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def answer(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def refusal(code: int, *arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert refused.value.returncode == code, refused.value
    return str(refused.value)


@pytest.fixture
def standin(repo: Repo, settings: Any) -> Iterator[Standin]:
    with serving(repo) as standin:
        base = repo.commit({"a.py": "A = 1\n", "b.md": ""})
        head = repo.commit({"a.py": "A = 1\neval(input())\n", "b.md": "x\n"})
        standin.open_pull(7, base, head, title="A \x1b[31mred change")
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


# --- A pull request ----------------------------------------------------------------------------------------------


def test_a_dry_run_prints_what_would_be_posted_and_writes_nothing(standin: Standin) -> None:
    text = run("review", "--pr", "acme/shop#7", "--dry-run")

    assert "1 finding" in text
    assert "--- a.py:2\n" in text
    assert "S307" in text
    assert "Read 1 of 2 files" in text
    assert "acme/shop is not entered here" in text
    assert "nothing was posted" in text
    assert "\x1b" not in text
    assert "<!--" not in text
    assert "404" in refusal(1, "review", "--pr", "acme/shop#8", "--dry-run")
    assert standin.asked("POST") == []
    assert not Repository.objects.exists()


def test_a_dry_run_tells_only_what_is_new(standin: Standin) -> None:
    review = a_review(head_sha=standin.pulls[7]["head"], status="done")
    assert review.pull_request is not None
    repository_id = review.repository_id
    before = standin.pulls[7]["head"]
    standin.pulls[7]["head"] = standin.repo.commit({"a.py": "A = 1\neval(input())\nB = 2\n"})
    type(review.pull_request).objects.update(reviewed_sha=before)
    Repository.objects.update(index_enabled=False)

    new, everything = (answer("review", "--pr", "acme/shop#7", "--dry-run", *more) for more in ((), ("--full",)))

    assert (new["since"], new["comments"], new["known"]) == (before, [], 1)
    assert [comment["line"] for comment in everything["comments"]] == [2]
    assert everything["cost_usd"] == "0"
    assert PullRequestReview.objects.filter(repository=repository_id).count() == 1
    assert standin.asked("POST") == []


def test_a_pull_request_is_reviewed_by_a_job() -> None:
    repository()

    made = answer("review", "--pr", "acme/shop#7", "--full")

    job = Job.objects.get(pk=made["job"])
    assert (job.task, job.kwargs, made["full"]) == ("run_pr_review", {"review_id": made["id"]}, True)
    assert AuditEntry.objects.get(action="review.request").via == "command"
    assert f"job {job.pk} (already waiting)" in run("review", "--pr", "acme/shop#7", "--full")
    said = refusal(1, "review", "--pr", "acme/shop#7", "--wait", "--timeout", "0")
    assert "goes on without this command" in said


def test_waiting_tells_how_a_review_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    repository()

    def end(command: Any, job_id: str, seconds: float) -> Job:
        PullRequestReview.objects.update(status=ReviewStatus.FAILED, error="GitHub was away", finished_at=Now())
        return Job.objects.get(pk=job_id)

    monkeypatch.setattr("embeddings.management.waiting.wait_for_job", end)
    with pytest.raises(SystemExit) as ended:
        run("review", "--pr", "acme/shop#7", "--wait")
    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--pr", "acme/shop"), 2, "write it as owner/name#7"),
        (("--pr", "acme/shop#0"), 2, "takes 1 or more"),
        (("--pr", "acme/other#7"), 2, "unknown repository 'acme/other'; choose from: acme/shop"),
        (("--pr", "acme/shop#7"), 1, "switched off"),
        (("--pr", "acme/shop#7", "--base", "main"), 2, "--base does not go with --pr"),
        (("--repo", ".", "--base", "main", "--wait"), 2, "--wait does not go with --repo"),
        (("--repo", "."), 2, "--repo needs --base"),
        (("--pr", "acme/shop#7", "--dry-run", "--wait"), 2, "no --wait"),
    ],
)
def test_what_cannot_be_reviewed_is_told(arguments: tuple[str, ...], code: int, said: str) -> None:
    repository(enabled=False)
    assert said in refusal(code, "review", *arguments)


# --- Reviews, findings, repositories, deliveries ------------------------------------------------------------------


def test_reviews_are_listed_shown_retried_and_cancelled() -> None:
    review = a_review(status="failed", title="red \x1b[31m", error="away")
    finding = a_finding(review)
    done = a_review(number=8, status="done")

    assert [row["id"] for row in answer("reviews", "list", "--status", "failed", "--number", "7")] == [review.pk]
    assert "acme/shop" in run("reviews", "list", "--limit", "1")
    text = run("reviews", "show", str(review.pk))
    assert f"{finding.pk} a.py:3 S307 eval [high, posted]" in text
    assert "\x1b" not in text
    assert answer("reviews", "show", str(review.pk))["findings"][0]["rule"] == "S307"
    assert "review" in run("reviews", "retry", str(review.pk))
    assert answer("reviews", "cancel", str(review.pk))["status"] == "failed"
    assert "only an unfinished one" in refusal(1, "reviews", "cancel", str(review.pk))
    assert "only a failed one" in refusal(1, "reviews", "retry", str(done.pk))
    assert "there is no review" in refusal(2, "reviews", "show", "99999999999999999999")
    assert "takes 1 to 200" in refusal(2, "reviews", "list", "--limit", "0")
    for text in ("then", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59"):
        assert "ISO 8601" in refusal(2, "reviews", "list", "--created-after", text)


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-this-name/shop"])
def test_a_folder_that_cannot_be_looked_at_is_wrong_use(path: str) -> None:
    assert "cannot be read: " in refusal(2, "review", "--repo", path, "--base", "main")


def test_findings_are_listed_dismissed_and_resolved() -> None:
    review = a_review(status="done")
    first, second = a_finding(review), a_finding(review, fingerprint="e" * 64)

    assert [row["id"] for row in answer("findings", "list", "--repository", "acme/shop")] == [second.pk, first.pk]
    assert answer("findings", "dismiss", str(first.pk))["state"] == "dismissed"
    run("findings", "resolve", str(second.pk))
    assert set(Finding.objects.values_list("state", flat=True)) == {"dismissed", "resolved"}
    assert "dismissed already" in refusal(1, "findings", "dismiss", str(first.pk))
    assert "there is no finding" in refusal(2, "findings", "resolve", "0")
    assert "+eval(input())" in run("findings", "show", str(first.pk))


def test_repositories_are_entered_changed_and_forgotten() -> None:
    made = answer("repositories", "add", "acme/shop", "finding_budget=5", "language=German")
    assert (made["finding_budget"], made["language"]) == (5, "German")
    after = answer("repositories", "set", "ACME/shop", "enabled=false", 'excluded_paths=["vendor/"]', "access=null")
    assert (after["enabled"], after["excluded_paths"]) == (False, ["vendor/"])
    assert answer("repositories", "show", str(made["id"]))["enabled"] is False
    assert [row["full_name"] for row in answer("repositories", "list", "--search", "shop")] == ["acme/shop"]
    assert "takes 1 to 50" in refusal(2, "repositories", "set", "acme/shop", "finding_budget=99")
    assert "write NAME=VALUE" in refusal(2, "repositories", "set", "acme/shop", "enabled")
    assert "choose from: acme/shop" in refusal(2, "repositories", "show", "acme/other")
    run("repositories", "remove", "acme/shop")
    assert not Repository.objects.exists()


def test_deliveries_are_listed_shown_and_handled_again() -> None:
    delivery = a_delivery("guid-1")

    assert [row["guid"] for row in answer("deliveries", "list", "--outcome", "job")] == ["guid-1"]
    assert answer("deliveries", "show", "guid-1")["payload"]["number"] == 7
    assert "job " in run("deliveries", "handle", str(delivery.pk))
    assert answer("deliveries", "redeliver", "guid-1")["said"].startswith("job ")
    Delivery.objects.update(payload={"not_kept_bytes": 300_000})
    assert "have GitHub send it again" in refusal(1, "deliveries", "handle", "guid-1")
    assert "there is no delivery" in refusal(2, "deliveries", "show", "guid-2")


def test_replies_and_indexes_are_listed_and_an_index_is_asked_for() -> None:
    repository()
    assert answer("replies", "list") == []
    assert "there is no reply" in refusal(2, "replies", "show", "1")
    job = answer("code_indexes", "request", "acme/shop")["job"]
    (index,) = answer("code_indexes", "list", "--state", "queued")
    assert (index["job"], answer("code_indexes", "show", str(index["id"]))["state"]) == (job, "queued")
    assert "job " in run("code_indexes", "remove", str(index["id"]))
    Repository.objects.update(index_enabled=False)
    assert "switched off" in refusal(1, "code_indexes", "request", "acme/shop")


# --- Accesses and language models ---------------------------------------------------------------------------------


def test_secrets_come_from_files_and_from_stdin_and_are_never_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standin: Standin
) -> None:
    (tmp_path / "hook").write_text("hush\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    arguments = ("bot", "kind=token", f"api_url={standin.url}", "--token-file", "-")

    text = run("github", "add", *arguments, "--webhook-secret-file", str(tmp_path / "hook"))

    stored = GitHubAccess.objects.get()
    assert (stored.token.reveal(), stored.webhook_secret.reveal()) == (TOKEN, "hush")
    assert TOKEN not in text
    assert "hush" not in text
    assert "switchyard-bot: well" in run("github", "check", "bot")
    assert answer("github", "check")["login"] == "switchyard-bot"
    standin.tokens.clear()
    with pytest.raises(SystemExit):
        run("github", "check", "bot")
    assert answer("github", "set", "bot", "enabled=false")["token"] == {"set": True}
    assert [row["name"] for row in answer("github", "list")] == ["bot"]
    assert answer("github", "installations") == []
    assert "see" not in refusal(2, "github", "show", "x")
    run("github", "remove", "bot")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("github", "add", "bot", "kind=token", "token=ghp_x"), "seen by everybody on this machine"),
        (("llm", "add", "c", "kind=openai", "model=m", "api_key=sk-x"), "--api-key-file FILE"),
        (("github", "add", "bot", "--token-file", "-", "--webhook-secret-file", "-"), "only one secret"),
        (("github", "add", "bot", "--token-file", "/nowhere"), "cannot be read: No such file"),
        (("llm", "add", "c", "kind=openai", "model=m"), "the price of this model is not known"),
        (("llm", "set", "c", "enabled=false"), "unknown LLM provider 'c'; choose from: none is entered"),
    ],
)
def test_a_secret_among_the_arguments_is_refused(arguments: tuple[str, ...], said: str) -> None:
    assert said in refusal(2, *arguments)
    assert not GitHubAccess.objects.exists()
    assert not LlmProvider.objects.exists()


def test_language_models_are_entered_and_their_calls_summed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    made = answer("llm", "add", "claude", "kind=anthropic", "model=claude-sonnet-5", "--api-key-file",
                  str(tmp_path / "key"))  # fmt: skip
    assert (made["api_key"], made["input_usd_per_million"]) == ({"set": True}, "2.0000")
    assert answer("llm", "set", "claude", "daily_cap_usd=5")["daily_cap_usd"] == "5.00"
    LlmCall.objects.create(provider="claude", model="m", purpose="review", cost_usd="0.5", error="busy")

    assert [row["error"] for row in answer("llm", "calls", "--failed", "--purpose", "review")] == ["busy"]
    assert [(row["of"], row["cost_usd"]) for row in answer("llm", "calls", "--by", "provider")] == [
        ("claude", "0.500000")
    ]
    assert "claude" in run("llm", "list")
    Repository.objects.create(full_name="acme/shop", provider="claude")
    assert "acme/shop use it" in refusal(2, "llm", "remove", "claude")


def test_a_language_model_that_does_not_work_ends_the_check_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from reviews.services.llm_providers import Checked

    LlmProvider.objects.create(name="m", kind="openai", model="m")
    monkeypatch.setattr(
        "reviews.services.llm_providers.try_out", lambda name: Checked(False, "the key was refused; enter another")
    )
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("llm", "check", "m", stdout=out)
    assert (ended.value.code, out.getvalue()) == (1, "m does not work: the key was refused; enter another\n")


@pytest.mark.parametrize(
    "name", ["reviews", "repositories", "deliveries", "findings", "replies", "code_indexes", "github", "llm", "review"]
)
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import load_command_class

    with pytest.raises(SystemExit):
        load_command_class("reviews", name).run_from_argv(["manage.py", name, "--help"])
    text = capsys.readouterr().out
    assert f"manage.py {name} " in text
    assert "exit codes:  0" in text
