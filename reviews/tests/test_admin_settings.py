"""Pages of what is set: repositories, language models with their calls, GitHub access, and code indexes."""

import re
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.models import AuditEntry
from jobs.operators.actors import command_actor
from jobs.tests.admin_helpers import client_with, page_of, said
from reviews.models import CodeIndex, GitHubAccess, Installation, LlmCall, LlmProvider, Repository
from reviews.operators import llm_providers, repositories

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"
KEY = "sk-ant-of-nobody"


def of(model: str, *names: str) -> tuple[str, ...]:
    return tuple(f"reviews.{name}_{model}" for name in names)


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(full_name="acme/shop", excluded_titles=["[wip]"], instructions=HOSTILE)


@pytest.fixture
def provider() -> LlmProvider:
    prices = {"input_usd_per_million": 3, "output_usd_per_million": 15}
    return LlmProvider.objects.create(name="claude", kind="anthropic", model="claude-x", api_key=KEY, **prices)


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    text = answer.content.decode()
    assert HOSTILE not in text
    assert KEY not in text
    return text


def filled(client: Client, address: str, **changes: Any) -> dict[str, Any]:
    """What a browser would post of the form at an address."""
    answer = client.get(address)
    values = {bound.html_name: bound.value() for bound in answer.context["form"]}
    values["shown"] = shown_by(answer)
    return {name: value for name, value in {**values, **changes}.items() if value not in (None, False)}


def shown_by(answer: Any) -> str | None:
    """What a form carries along of what it showed."""
    found = re.search(r'name="shown" value="([^"]*)"', answer.content.decode())
    return unescape(found[1]) if found else None


# --- repositories ---


def test_a_repository_is_shown_with_its_settings_index_and_last_review(repository: Repository) -> None:
    CodeIndex.objects.create(repository=repository, state="failed", error=HOSTILE)
    repository.reviews.create(number=7, head_sha="a" * 40, base_sha="", title=HOSTILE)
    client = client_with(*of("repository", "view"), *of("pullrequestreview", "view"))

    for query in ("", "?q=SHOP", "?enabled=yes&provider=embedded&removed=no"):
        text = text_of(client, page_of("reviews_repository") + query)
        assert all(words in text for words in ("acme/shop", "failed", "#7", "embedded"))
    for query in ("?q=nothing", "?enabled=no", "?removed=yes"):
        assert "acme/shop" not in text_of(client, page_of("reviews_repository") + query).split("result_list")[-1]
    text = text_of(client, page_of("reviews_repository", "change", repository.pk))
    assert all(words in text for words in ("title [wip]", "up to 10 findings on a change", "#7"))
    assert "Index now" not in text


def test_settings_are_changed_in_words_and_audited(repository: Repository) -> None:
    client = client_with(*of("repository", "view", "change"))
    edit = page_of("reviews_repository", "edit", repository.pk)
    assert "Who reviews" in text_of(client, edit)

    client.post(
        edit, filled(client, edit, finding_budget="5", excluded_paths="vendor/\n\n*.min.js", daily_cap_usd="2.5")
    )

    changed = Repository.objects.get()
    assert (changed.finding_budget, changed.excluded_paths) == (5, ["vendor/", "*.min.js"])
    assert (changed.daily_cap_usd, changed.instructions) == (Decimal("2.50"), HOSTILE)
    entry = AuditEntry.objects.get(action="repository.change")
    assert set(entry.detail) == {"finding_budget", "excluded_paths", "daily_cap_usd"}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("finding_budget", "51", "it takes 1 to 50"),
        ("provider", "nobody", "Select a valid choice"),
        ("providers_allowed", "nobody", "is unknown; choose from: embedded"),
        ("excluded_paths", "[z-a]", "is no pattern as in .gitignore"),
        ("path_instructions", "{", "This is not JSON"),
        ("path_instructions", '[{"path": "a"}]', "Entry 1 is"),
        ("daily_cap_usd", "much", "it takes a number of dollars"),
        ("large_files", "-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_stored(
    repository: Repository, field: str, value: str, words: str
) -> None:
    client = client_with(*of("repository", "view", "change"))
    edit = page_of("reviews_repository", "edit", repository.pk)

    answer = client.post(edit, filled(client, edit, language="German", **{field: value}))

    assert answer.status_code == 200
    assert words in str(answer.context["form"].errors[field])
    assert Repository.objects.get().language == "English"


def test_an_open_form_leaves_alone_what_others_changed_meanwhile(repository: Repository, provider: LlmProvider) -> None:
    client = client_with(*of("repository", "view", "change"), *of("llmprovider", "view", "change"))
    edit, edit_llm = (page_of(f"reviews_{row._meta.model_name}", "edit", row.pk) for row in (repository, provider))
    opened, opened_llm = filled(client, edit, instructions="Be short."), filled(client, edit_llm, context_tokens="9000")
    actor = command_actor()
    meanwhile = {"enabled": False, "finding_budget": 4, "excluded_titles": [], "excluded_labels": ["other"]}
    repositories.change_repository(actor, repository.pk, meanwhile)
    llm_providers.change_provider(actor, provider.pk, {"enabled": False, "daily_cap_usd": "1"})

    client.post(edit, opened)
    client.post(edit_llm, opened_llm)

    repository.refresh_from_db()
    assert repository.instructions == "Be short."
    assert {name: getattr(repository, name) for name in meanwhile} == meanwhile
    provider.refresh_from_db()
    assert (provider.context_tokens, provider.enabled, provider.daily_cap_usd) == (9000, False, Decimal(1))


def test_entries_of_a_list_that_others_made_meanwhile_stay(repository: Repository) -> None:
    client = client_with(*of("repository", "view", "change"))
    edit = page_of("reviews_repository", "edit", repository.pk)
    opened = filled(client, edit, excluded_titles="draft\r\n[wip]")
    repositories.change_repository(command_actor(), repository.pk, {"excluded_titles": ["[wip]", "poc"]})

    client.post(edit, opened)

    assert sorted(Repository.objects.get().excluded_titles) == ["[wip]", "draft", "poc"]


def test_a_form_that_comes_back_with_errors_still_knows_what_it_showed(repository: Repository) -> None:
    client = client_with(*of("repository", "view", "change"))
    edit = page_of("reviews_repository", "edit", repository.pk)
    opened = filled(client, edit, finding_budget="51")
    repositories.change_repository(command_actor(), repository.pk, {"enabled": False})

    again = shown_by(client.post(edit, opened))
    client.post(edit, {**opened, "finding_budget": "5", "shown": again})

    changed = Repository.objects.get()
    assert (changed.finding_budget, changed.enabled) == (5, False)


def test_a_repository_is_entered_indexed_and_forgotten() -> None:
    names = ("view", "add", "delete", "index")
    client = client_with(*of("repository", *names))
    add = page_of("reviews_repository", "add")

    assert "it takes owner/name" in client.post(add, filled(client, add, full_name="shop")).content.decode()
    client.post(add, filled(client, add, full_name="acme/shop"))
    row = Repository.objects.get()
    index, remove = (page_of("reviews_repository", name, row.pk) for name in ("index", "remove"))
    client.get(index)
    assert not CodeIndex.objects.exists()
    assert "indexed by job" in said(client.post(index))
    client.get(remove)
    assert Repository.objects.exists()
    client.post(remove)
    assert not Repository.objects.exists()


# --- language models ---


def test_a_key_is_written_kept_and_taken_away_but_never_shown(provider: LlmProvider) -> None:
    client = client_with(*of("llmprovider", "view", "change"))
    edit = page_of("reviews_llmprovider", "edit", provider.pk)
    assert "It is set; leave this empty to keep it" in text_of(client, edit)
    text_of(client, page_of("reviews_llmprovider", "change", provider.pk))

    client.post(edit, filled(client, edit, model="claude-y"))
    assert (LlmProvider.objects.get().model, LlmProvider.objects.get().api_key.reveal()) == ("claude-y", KEY)
    wrong = client.post(edit, filled(client, edit, api_key="sk-second", min_confidence="7"))
    assert "sk-second" not in wrong.content.decode()
    client.post(edit, filled(client, edit, api_key="sk-second"))
    assert LlmProvider.objects.get().api_key.reveal() == "sk-second"
    client.post(edit, filled(client, edit, api_key_take_away="on"))

    assert not LlmProvider.objects.get().api_key
    assert "sk-second" not in str(list(AuditEntry.objects.values_list("detail", flat=True)))


def test_a_model_is_entered_tried_by_a_job_and_removed(provider: LlmProvider) -> None:
    client = client_with(*of("llmprovider", "view", "add", "change", "delete"))
    add = page_of("reviews_llmprovider", "add")
    new = {"name": "own", "kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}

    assert client.post(add, filled(client, add, **new, context_tokens="1")).status_code == 200
    assert client.post(add, filled(client, add, **new)).status_code == 302
    row = LlmProvider.objects.get(name="own")
    check, remove = (page_of("reviews_llmprovider", name, row.pk) for name in ("check", "remove"))
    client.get(check)
    assert not AuditEntry.objects.filter(action="llm_provider.check").exists()
    assert "request is sent by job" in said(client.post(check))
    Repository.objects.create(full_name="acme/shop", provider="own")
    assert "acme/shop use it" in said(client.post(remove))
    Repository.objects.update(provider="embedded")
    client.post(remove)
    assert list(LlmProvider.objects.values_list("name", flat=True)) == ["claude"]


def test_what_calls_cost_is_shown_by_day_and_against_the_cap(provider: LlmProvider, repository: Repository) -> None:
    made = {"provider": "claude", "model": "m", "purpose": "review", "repository": repository, "number": 7}
    LlmCall.objects.create(**made, input_tokens=1200, output_tokens=9, cost_usd=5, finished_at=timezone.now())
    call = LlmCall.objects.create(**made, cost_usd=1, error=HOSTILE, finished_at=timezone.now())
    client = client_with(*of("llmprovider", "view"), *of("llmcall", "view"))

    for address in (page_of("reviews_llmprovider"), page_of("reviews_llmprovider", "change", provider.pk)):
        assert "$6.00 of $20.00" in text_of(client, address)
    text = text_of(client, page_of("reviews_llmcall") + "?provider=claude&purpose=review&failed=no")
    assert "$6.0000" in text
    assert "1,200 in, 9 out" in text
    assert "acme/shop#7" in text_of(client, page_of("reviews_llmcall", "change", call.pk))


# --- GitHub access ---


def test_an_access_is_entered_and_its_secrets_stay_its_own() -> None:
    client = client_with(*of("githubaccess", "view", "add", "change", "delete"))
    add = page_of("reviews_githubaccess", "add")
    new = {"name": "ann", "kind": "token", "token": KEY, "webhook_secret": KEY}

    answer = client.post(add, filled(client, add, **{**new, "token": ""}))
    assert "needs it" in answer.content.decode()
    client.post(add, filled(client, add, **new))
    row = GitHubAccess.objects.get()
    assert row.token.reveal() == KEY
    edit = page_of("reviews_githubaccess", "edit", row.pk)
    text_of(client, edit)
    moved = client.post(edit, filled(client, edit, api_url="https://github.example/api/v3"))
    assert "given to the former address" in moved.content.decode()
    text = text_of(client, page_of("reviews_githubaccess", "change", row.pk))
    assert "http://testserver/webhooks/github/" in text
    text_of(client, page_of("reviews_githubaccess"))
    client.post(page_of("reviews_githubaccess", "remove", row.pk))
    assert not GitHubAccess.objects.exists()


def test_a_check_tells_what_github_says_and_an_app_shows_where_it_is_installed(settings: Any) -> None:
    closed = "http://127.0.0.1:9/api/v3"
    row = GitHubAccess.objects.create(name="App", client_id="Iv1", private_key=KEY, api_url=closed)
    Installation.objects.create(
        access=row, github_id=5, account_login="acme", permissions={"contents": "read"}, suspended_at=timezone.now()
    )
    client = client_with(*of("githubaccess", "view", "change"), *of("installation", "view"))
    page = page_of("reviews_githubaccess", "change", row.pk)

    text = text_of(client, page)
    for words in ("acme", "suspended", "contents: read", "pull_request_review_comment"):
        assert words in text
    client.get(page_of("reviews_githubaccess", "check", row.pk))
    assert GitHubAccess.objects.get().checked_at is None
    assert said(client.post(page_of("reviews_githubaccess", "check", row.pk)))
    assert GitHubAccess.objects.get().error
    assert "needs attention" in text_of(client, page)


# --- code indexes ---


def test_an_index_is_shown_updated_and_removed(repository: Repository) -> None:
    skipped = {HOSTILE: 3, "binary": 1200}
    index = CodeIndex.objects.create(repository=repository, state="ready", sha="a" * 40, files=7, skipped=skipped)
    client = client_with(*of("codeindex", "view"), "reviews.index_repository")
    page, update, remove = (page_of("reviews_codeindex", name, index.pk) for name in ("change", "update", "remove"))

    text = text_of(client, page)
    assert text.index("1,200") < text.index("alert(1)")
    assert "acme/shop" in text_of(client, page_of("reviews_codeindex") + "?state=ready&q=shop")
    client.get(update)
    client.get(remove)
    assert not AuditEntry.objects.exists()
    assert "brought up to date by job" in said(client.post(update))
    assert "removed by job" in said(client.post(remove))
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"index.request", "index.remove"}


def test_every_page_needs_its_permission(repository: Repository, provider: LlmProvider) -> None:
    index = CodeIndex.objects.create(repository=repository)
    access = GitHubAccess.objects.create(name="App", client_id="Iv1")
    acts = {
        repository: ("edit", "index", "remove"),
        provider: ("edit", "check", "remove"),
        access: ("edit", "check", "remove"),
        index: ("update", "remove"),
    }
    models = [row._meta.model_name for row in acts]
    views = [name for model in (*models, "llmcall") for name in of(str(model), "view")]
    nobody, viewer = client_with(name="bob"), client_with(*views)

    for row, names in acts.items():
        model = f"reviews_{row._meta.model_name}"
        assert nobody.get(page_of(model)).status_code == 403
        assert nobody.get(page_of(model, "change", row.pk)).status_code == 403
        assert viewer.get(page_of(model, "change", row.pk)).status_code == 200
        assert viewer.get(page_of(model, "add")).status_code == 403
        assert {viewer.post(page_of(model, name, row.pk)).status_code for name in names} == {403}
    assert viewer.post(page_of("reviews_githubaccess", "environment")).status_code == 403
