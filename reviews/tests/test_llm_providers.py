"""What operators do with language models."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied

from jobs.models import AuditEntry, Job
from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused
from reviews.llm import accounts
from reviews.models import LlmCall, LlmProvider, Repository
from reviews.operators import repositories
from reviews.providers import UnknownProvider, provider_named
from reviews.services import llm_providers
from reviews.services.llm_providers import LlmProviderRefused
from reviews.tests.llm_helpers import provider_at
from reviews.tests.llm_standin import KEY, Fault, LlmStandin, serving

pytestmark = pytest.mark.django_db
ACTOR = Actor(name="ops", via="command")


@pytest.fixture
def llm() -> Iterator[LlmStandin]:
    with serving() as standin:
        yield standin


def create(**values: Any) -> LlmProvider:
    return llm_providers.create(
        ACTOR, **{"name": "claude", "kind": "anthropic", "model": "claude-sonnet-5-5", **values}
    )


def test_a_provider_is_entered_with_known_prices_and_its_key_is_never_shown() -> None:
    row = create(api_key=KEY)

    assert (row.input_usd_per_million, row.cached_usd_per_million) == (Decimal(2), Decimal("0.1"))
    assert row.api_key.reveal() == KEY
    assert KEY not in str(AuditEntry.objects.values().get())
    assert AuditEntry.objects.get().detail["api_key"] == "entered"
    assert provider_named("claude").name == "claude"


@pytest.mark.parametrize(
    ("values", "field", "told"),
    [
        ({"model": "unheard-of"}, "input_usd_per_million", "not known; give it, 0 for none"),
        ({"model": "a b"}, "input_usd_per_million", "not known"),
        ({"model": "a\nb", "base_url": "http://llm.local/v1"}, "model", "is no model's name"),
        ({"kind": "gemini"}, "kind", "not a valid choice"),
        ({"name": "embedded"}, "name", "choose another"),
        ({"name": "openai"}, "name", "is kept for a provider of that kind"),
        ({"name": "not a slug"}, "name", "valid"),
        ({"base_url": "https://user:pw@host/"}, "base_url", "without a user"),
        ({"base_url": "file:///etc/passwd"}, "base_url", "https://HOST/PATH|valid URL"),
        ({"context_tokens": 10}, "context_tokens", "outside 4,000"),
        ({"context_tokens": "many"}, "context_tokens", "integer"),
        ({"daily_cap_usd": -1}, "daily_cap_usd", "below 0"),
        ({"min_confidence": 3}, "min_confidence", "outside 0 to 1"),
        ({"secret": 3}, "secret", "unknown; there are"),
    ],
)
def test_what_cannot_be_is_refused_naming_the_field(values: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(LlmProviderRefused, match=told) as raised:
        create(**values)
    assert field in raised.value.errors
    assert not LlmProvider.objects.exists()


def test_a_name_is_taken_once_and_stays() -> None:
    row = create()
    with pytest.raises(LlmProviderRefused, match="claude is taken"):
        create()
    with pytest.raises(LlmProviderRefused, match="its name, which stays"):
        llm_providers.change(ACTOR, row, name="other")


def test_another_address_needs_the_key_again() -> None:
    row = create(api_key=KEY)
    with pytest.raises(LlmProviderRefused, match="enter it again"):
        llm_providers.change(ACTOR, row, base_url="https://elsewhere.example")
    changed = llm_providers.change(ACTOR, row, base_url="https://elsewhere.example", api_key="sk-other")
    assert changed.api_key.reveal() == "sk-other"
    assert llm_providers.change(ACTOR, row, enabled=False).api_key.reveal() == "sk-other"


def test_one_that_is_used_is_not_removed() -> None:
    row = create()
    repository = Repository.objects.create(full_name="acme/shop", issue_provider="claude")
    with pytest.raises(LlmProviderRefused, match="acme/shop use it"):
        llm_providers.remove(ACTOR, row)
    repository.delete()
    llm_providers.remove(ACTOR, row)
    with pytest.raises(UnknownProvider, match="choose from: embedded"):
        provider_named("claude")


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_trying_it_tells_whether_key_and_model_work(llm: LlmStandin, kind: str) -> None:
    llm.otherwise = lambda asked: {"ok": True}
    row = provider_at(llm, kind)
    checked = llm_providers.check(ACTOR, row)
    row.refresh_from_db()
    assert (checked.works, row.error, row.checked_at is None) == (True, "", False)
    assert LlmCall.objects.get().purpose == "check"

    llm.script = [Fault(403, f"key {KEY} may not")]
    checked = llm_providers.check(ACTOR, row)
    row.refresh_from_db()
    assert "check what its API key may use" in checked.message == row.error
    assert KEY not in row.error
    assert AuditEntry.objects.filter(action="llm_provider.check").count() == 2


def test_pages_have_it_tried_by_a_job(llm: LlmStandin) -> None:
    job_id = llm_providers.have_checked(ACTOR, provider_at(llm))
    assert Job.objects.get(pk=job_id).task == "reviews.check_llm_provider"
    assert llm.requests == []


@pytest.mark.parametrize(
    "do",
    [
        lambda actor, row: llm_providers.create(actor, name="x", kind="openai", model="gpt-5.5"),
        lambda actor, row: llm_providers.change(actor, row, enabled=False),
        llm_providers.remove,
        llm_providers.check,
        llm_providers.have_checked,
    ],
)
def test_each_needs_its_permission(do: Any) -> None:
    row = create()
    user = User.objects.create_user("viewer")
    with pytest.raises(PermissionDenied, match="llmprovider"):
        do(Actor.of_user(user, "api"), row)


@pytest.mark.parametrize(
    ("name", "reviews", "url", "told"),
    [
        ("openai", {"OPENAI_API_KEY": KEY}, "http://llm.local/v1", "set OPENAI_MODEL in the environment"),
        ("openai", {}, "http://llm.local/v1", "set OPENAI_MODEL in the environment"),
        ("openai", {"OPENAI_MODEL": "qwen"}, "", "set OPENAI_API_KEY in the environment"),
        ("anthropic", {"ANTHROPIC_API_KEY": KEY}, "", "set ANTHROPIC_MODEL in the environment"),
        ("anthropic", {}, "http://llm.local/v1", "unknown provider 'anthropic'; choose from"),
    ],
)
def test_of_a_provider_that_the_environment_has_by_half_the_rest_is_named(
    settings: Any, name: str, reviews: dict[str, str], url: str, told: str
) -> None:
    settings.REVIEWS = reviews
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "OPENAI_BASE_URL": url}

    with pytest.raises(UnknownProvider, match=told):
        provider_named(name)
    if told.startswith("set"):
        with pytest.raises(SettingsRefused, match=told):
            repositories.read_settings({"provider": name})


def test_a_model_at_an_address_of_ones_own_needs_no_key(settings: Any) -> None:
    settings.REVIEWS = {"OPENAI_MODEL": "qwen"}
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "OPENAI_BASE_URL": "http://llm.local/v1"}

    row = accounts.find("openai")

    assert row is not None
    assert (row.base_url, accounts.key_of(row).reveal(), accounts.names()) == ("http://llm.local/v1", "", ["openai"])
