"""GitHub accesses, language models and their calls, replies and code indexes over REST."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry, Job
from jobs.tests.api_client import caller, person, post, problem
from reviews.models import (
    CodeIndex,
    GitHubAccess,
    Installation,
    LlmCall,
    LlmProvider,
    PullRequest,
    Reply,
    Repository,
)
from reviews.standin.apps import private_key
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Standin, serving

pytestmark = pytest.mark.django_db
V1 = "/api/v1/"
MODEL = {"name": "claude", "kind": "anthropic", "model": "claude-sonnet-5", "api_key": "sk-very-secret"}


def patch(client: Client, path: str, body: Any) -> Any:
    return client.patch(V1 + path, json.dumps(body), content_type="application/json")


def made(api: Client, path: str, body: Any) -> dict[str, Any]:
    answer = post(api, V1 + path, body)
    assert answer.status_code == 201, answer.content
    assert answer.headers["Location"].endswith(f"{path}{answer.json()['id']}/")
    return dict(answer.json())


def ids(api: Client, path: str) -> list[int]:
    answer = api.get(V1 + path)
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


@pytest.fixture
def standin(repo: Repo, settings: Any) -> Iterator[Standin]:
    repo.commit({"a.py": "A = 1\n"})
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        yield standin


# --- GitHub accesses ------------------------------------------------------------------------------------------------


def test_secrets_of_an_access_are_written_and_never_told(api: Client) -> None:
    app = {"name": "App", "client_id": "Iv1.first", "private_key": private_key(), "webhook_secret": "hush"}
    row = made(api, "github-accesses/", app)

    assert (row["private_key"], row["webhook_secret"], row["token"]) == ({"set": True}, {"set": True}, {"set": False})
    path = f"github-accesses/{row['id']}/"
    after = patch(api, path, {"webhook_secret": "", "enabled": False}).json()
    assert (after["webhook_secret"], after["enabled"]) == ({"set": False}, False)
    stored = GitHubAccess.objects.get()
    assert stored.private_key.reveal() == private_key()
    everything = json.dumps([list(AuditEntry.objects.values_list("detail", flat=True)), api.get(V1 + path).json()])
    assert "PRIVATE KEY" not in everything
    assert "hush" not in everything
    assert AuditEntry.objects.get(action="access.change").detail["webhook_secret"] == ["set", ""]
    assert api.delete(V1 + path).status_code == 204


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"client_id": "a", "private_key": private_key("second")}, "#/name", "missing"),
        ({"name": "x", "client_id": "a"}, "#/private_key", "of the kind app needs it"),
        ({"name": "x", "kind": "token"}, "#/token", "needs it"),
        ({"name": "x", "kind": "token", "token": "a", "private_key": private_key()}, "#/private_key", "leave it out"),
        ({"name": "x", "kind": "pat"}, "#/kind", "choose from: app, token"),
        ({"name": "x", "private_key": "-----BEGIN"}, "#/private_key", "not an RSA key"),
        ({"name": "x", "kind": "token", "token": "a", "api_url": "http://git.example.org"}, "#/api_url", "https"),
        ({"name": "x", "kind": "token", "token": "a", "api_url": "ftp"}, "#/api_url", "valid URL"),
        ({"name": "ours", "kind": "token", "token": "a"}, "#/name", "taken"),
        ({"name": "x", "client_id": "Iv1", "private_key": private_key()}, "#/client_id", "entered already"),
        ({"name": "x", "token": {"a": 1}}, "#/token", "takes a text"),
        ({"name": "x", "app_id": 7}, "#/app_id", "unknown setting"),
    ],
)
def test_an_access_that_cannot_be_is_refused(api: Client, body: Any, pointer: str, said: str) -> None:
    GitHubAccess.objects.create(name="ours", client_id="Iv1")

    (error,) = problem(post(api, f"{V1}github-accesses/", body), 400)["errors"]

    assert (error["pointer"], said in error["detail"]) == (pointer, True), error
    assert GitHubAccess.objects.count() == 1


def test_whoever_changes_the_address_of_an_access_has_to_know_its_secret(api: Client) -> None:
    row = made(api, "github-accesses/", {"name": "x", "kind": "token", "token": "ghp_secret"})
    path = f"github-accesses/{row['id']}/"
    there = {"api_url": "https://git.example.org/api/v3"}

    assert "former address" in problem(patch(api, path, there), 400)["detail"]
    assert patch(api, path, {**there, "token": "ghp_other"}).status_code == 200
    Repository.objects.create(full_name="acme/shop", access_id=row["id"])
    assert "acme/shop use it" in problem(api.delete(V1 + path), 400)["detail"]
    assert "stays" in problem(patch(api, path, {"kind": "app"}), 400)["detail"]


def test_an_access_is_checked_at_github(api: Client, standin: Standin) -> None:
    row = made(api, "github-accesses/", {"name": "x", "kind": "token", "token": TOKEN, "api_url": standin.url})
    path = f"{V1}github-accesses/{row['id']}/"

    assert post(api, f"{path}check/").json() == {"login": "switchyard-bot", "problems": [], "installations": 0}
    assert api.get(path).json()["account_login"] == "switchyard-bot"
    assert post(api, f"{V1}github-accesses/check/").json()["login"] == "switchyard-bot"
    standin.tokens.clear()
    (said,) = post(api, f"{path}check/").json()["problems"]
    assert TOKEN not in said
    assert api.get(path).json()["error"] == said


def test_installations_are_listed_without_their_tokens(api: Client) -> None:
    access = GitHubAccess.objects.create(name="App", client_id="a")
    rows = [
        Installation.objects.create(access=access, github_id=number, account_login=name, token="ghs_secret")
        for number, name in ((1, "acme"), (2, "other"))
    ]
    Repository.objects.create(full_name="acme/shop", installation=rows[0])

    assert ids(api, "installations/") == [rows[1].pk, rows[0].pk]
    assert ids(api, "installations/?account=ACME&access=App&removed=false") == [rows[0].pk]
    shown = api.get(f"{V1}installations/{rows[0].pk}/").json()
    assert (shown["used_by"], "ghs_secret" in json.dumps(shown)) == (1, False)


# --- Language models ------------------------------------------------------------------------------------------------


def test_a_language_model_is_entered_changed_tried_and_removed(api: Client) -> None:
    row = made(api, "llm-providers/", MODEL)
    assert (row["api_key"], row["input_usd_per_million"]) == ({"set": True}, "2.0000")
    path = f"llm-providers/{row['id']}/"

    assert patch(api, path, {"daily_cap_usd": 5, "min_confidence": 0.8}).json()["daily_cap_usd"] == "5.00"
    assert "former address" in problem(patch(api, path, {"base_url": "https://llm.example.org/v1"}), 400)["detail"]
    checked = post(api, f"{V1}{path}check/")
    assert (checked.status_code, Job.objects.get(pk=checked.json()["job"]).state) == (202, "queued")
    Repository.objects.create(full_name="acme/shop", provider="claude")
    assert "acme/shop use it" in problem(api.delete(V1 + path), 400)["detail"]
    Repository.objects.all().delete()
    assert api.delete(V1 + path).status_code == 204
    assert "sk-very-secret" not in json.dumps(list(AuditEntry.objects.values_list("detail", flat=True)))


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"kind": "gemini"}, "#/kind", "choose from: anthropic, openai"),
        ({"name": "embedded"}, "#/name", "choose another"),
        ({"name": "a b"}, "#/name", "slug"),
        ({"context_tokens": "many"}, "#/context_tokens", "whole number"),
        ({"context_tokens": 1}, "#/context_tokens", "outside 4,000 to 1,000,000"),
        ({"min_confidence": 2}, "#/min_confidence", "outside 0 to 1"),
        ({"daily_cap_usd": -1}, "#/daily_cap_usd", "0 or more"),
        ({"api_key": 7}, "#/api_key", "takes a text"),
        ({"temperature": 1}, "#/temperature", "unknown setting"),
    ],
)
def test_a_language_model_that_cannot_be_is_refused(api: Client, change: Any, pointer: str, said: str) -> None:
    (error,) = problem(post(api, f"{V1}llm-providers/", {**MODEL, **change}), 400)["errors"]
    assert (error["pointer"], said in error["detail"]) == (pointer, True), error
    assert not LlmProvider.objects.exists()


def test_calls_are_listed_and_summed(api: Client) -> None:
    repository = Repository.objects.create(full_name="acme/shop")
    for provider, cost, day, fields in (
        ("claude", "0.50", 2, {"repository": repository, "input_tokens": 100}),
        ("claude", "0.25", 1, {"error": "it was busy"}),
        ("gpt", "1.00", 1, {"output_tokens": 7}),
    ):
        made_at = datetime(2026, 1, day, 12, tzinfo=UTC)
        call = LlmCall.objects.create(provider=provider, model="m", purpose="review", cost_usd=cost, **fields)
        LlmCall.objects.filter(pk=call.pk).update(created_at=made_at)
    since = "created_after=2026-01-01T00:00:00Z"

    def sums(query: str) -> list[tuple[str, int, int, str]]:
        rows = api.get(f"{V1}llm-calls/sums/?{query}").json()["results"]
        return [(row["of"], row["calls"], row["failed"], row["cost_usd"]) for row in rows]

    assert sums(since) == [("2026-01-02", 1, 0, "0.500000"), ("2026-01-01", 2, 1, "1.250000")]
    assert sums(f"by=provider&{since}") == [("gpt", 1, 0, "1.000000"), ("claude", 2, 1, "0.750000")]
    assert sums(f"by=repository&{since}&provider=claude") == [("acme/shop", 1, 0, "0.500000"), ("", 1, 1, "0.250000")]
    assert sums("") == []  # none of the last 30 days
    first = api.get(f"{V1}llm-calls/?page_size=2").json()
    assert (len(first["results"]), len(api.get(first["next"]).json()["results"])) == (2, 1)
    (busy,) = ids(api, "llm-calls/?failed=true&provider=claude&purpose=review")
    assert api.get(f"{V1}llm-calls/{busy}/").json()["error"] == "it was busy"
    for query in ("by=colour", "purpose=x", "day=1"):
        problem(api.get(f"{V1}llm-calls/sums/?{query}"), 400)
    for _ in range(2):
        LlmCall.objects.create(provider="dear", model="m", purpose="review", cost_usd="9000.5")
    assert sums("provider=dear&by=provider") == [("dear", 2, 0, "18001.000000")]


# --- Replies and code indexes -----------------------------------------------------------------------------------------


def test_replies_are_listed_and_shown(api: Client) -> None:
    repository = Repository.objects.create(full_name="acme/shop")
    pull = PullRequest.objects.create(repository=repository, number=7)
    rows = [
        Reply.objects.create(pull_request=pull, kind="issue", comment_id=number, author=name, body="@switchyard help")
        for number, name in ((1, "ada"), (2, "bob"))
    ]
    assert ids(api, "replies/") == [rows[1].pk, rows[0].pk]
    assert ids(api, "replies/?repository=acme/shop&number=7&status=pending&author=ADA") == [rows[0].pk]
    assert api.get(f"{V1}replies/{rows[0].pk}/").json()["body"] == "@switchyard help"
    problem(api.get(f"{V1}replies/?status=odd"), 400)
    assert "choose from: review, full review" in problem(api.get(f"{V1}replies/?command=odd"), 400)["detail"]


def test_an_index_is_asked_for_and_removed_by_jobs(api: Client) -> None:
    repository = Repository.objects.create(full_name="acme/shop")

    sent = post(api, f"{V1}code-indexes/", {"repository": "acme/shop"})
    assert (sent.status_code, Job.objects.get(pk=sent.json()["job"]).task) == (202, "index_repository")
    (index,) = ids(api, "code-indexes/?state=queued&repository=acme/shop")
    assert api.get(f"{V1}code-indexes/{index}/").json()["job"] == sent.json()["job"]
    gone = api.delete(f"{V1}code-indexes/{index}/")
    assert (gone.status_code, Job.objects.get(pk=gone.json()["job"]).kwargs) == (202, {"repository_id": repository.pk})
    Repository.objects.update(index_enabled=False)
    assert "switched off" in problem(post(api, f"{V1}code-indexes/", {"repository": "acme/shop"}), 409)["detail"]
    problem(post(api, f"{V1}code-indexes/", {"repository": "x"}), 404)
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"index.request", "index.remove"}


def test_everybody_needs_the_permission_of_what_they_do(db: None) -> None:
    views = ("githubaccess", "installation", "llmprovider", "llmcall", "reply", "codeindex")
    reader = caller(person("reader", *(f"reviews.view_{name}" for name in views)))
    nobody = caller(person("nobody"))
    access = GitHubAccess.objects.create(name="a", kind="token", token="t")
    model = LlmProvider.objects.create(name="m", kind="openai", model="m")
    index = CodeIndex.objects.create(repository=Repository.objects.create(full_name="acme/shop"))
    for path in ("github-accesses/", "installations/", "llm-providers/", "llm-calls/", "llm-calls/sums/", "replies/"):
        assert reader.get(V1 + path).status_code == 200, path
        problem(nobody.get(V1 + path), 403)
    for path, permission in (
        ("github-accesses/", "add_githubaccess"),
        ("github-accesses/check/", "change_githubaccess"),
        (f"github-accesses/{access.pk}/check/", "change_githubaccess"),
        ("llm-providers/", "add_llmprovider"),
        (f"llm-providers/{model.pk}/check/", "change_llmprovider"),
        ("code-indexes/", "index_repository"),
    ):
        assert f"reviews.{permission}" in problem(post(reader, V1 + path), 403)["detail"]
    for path in (f"github-accesses/{access.pk}/", f"llm-providers/{model.pk}/", f"code-indexes/{index.pk}/"):
        problem(reader.delete(V1 + path), 403)
    for path in (f"github-accesses/{access.pk}/", f"llm-providers/{model.pk}/"):
        problem(patch(reader, path, {"enabled": False}), 403)
