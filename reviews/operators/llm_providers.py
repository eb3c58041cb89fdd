"""Language models as operators enter them: values are checked here by their kind, and by `services.llm_providers`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db.models import QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere, find
from jobs.operators.search import is_storable
from jobs.operators.settings import Settings, SettingsRefused, shown
from reviews.models import LlmProvider
from reviews.services import llm_providers as services
from reviews.services.llm_providers import Checked, LlmProviderRefused, check, have_checked

__all__ = ["Checked", "check", "have_checked"]

SETTINGS = Settings(
    LlmProvider,
    (
        *("name", "kind", "model", "base_url", "api_key", "enabled", "context_tokens", "output_tokens"),
        *("max_requests", "input_usd_per_million", "cached_usd_per_million", "output_usd_per_million"),
        *("change_cap_usd", "daily_cap_usd", "requests_per_minute", "min_confidence"),
    ),
)
NEEDED = ("name", "kind", "model")


def providers() -> "QuerySet[LlmProvider]":
    return LlmProvider.objects.all()


def find_provider(provider_id: int) -> LlmProvider:
    """Raises NotHere."""
    return find(providers(), provider_id, "LLM provider")


def provider_named(name: str) -> LlmProvider:
    """Raises NotHere."""
    found = providers().filter(name=name).first() if is_storable(name) else None
    if found is None:
        known = ", ".join(LlmProvider.objects.order_by("name").values_list("name", flat=True)[:20])
        raise NotHere(f"unknown LLM provider {shown(name)}; choose from: {known or 'none is entered'}")
    return found


def create_provider(actor: Actor, given: Mapping[str, Any]) -> LlmProvider:
    """Raises PermissionDenied (reviews.add_llmprovider), SettingsRefused."""
    actor.require("reviews.add_llmprovider")
    values = SETTINGS.read(given)
    missing = [name for name in NEEDED if name not in values]
    if missing:
        raise SettingsRefused(dict.fromkeys(missing, "is missing"))
    with _refusals():
        return services.create(actor, **values)


def change_provider(actor: Actor, provider_id: int, given: Mapping[str, Any]) -> LlmProvider:
    """Change what is named; an empty api_key takes the key away. Raises PermissionDenied
    (reviews.change_llmprovider), NotHere, SettingsRefused.
    """
    actor.require("reviews.change_llmprovider")
    values = SETTINGS.read(given)
    with _refusals():
        return services.change(actor, find_provider(provider_id), **values)


def delete_provider(actor: Actor, provider_id: int) -> None:
    """Raises PermissionDenied (reviews.delete_llmprovider), NotHere, SettingsRefused while a repository uses it."""
    actor.require("reviews.delete_llmprovider")
    with _refusals():
        services.remove(actor, find_provider(provider_id))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except LlmProviderRefused as exc:
        raise SettingsRefused(exc.errors) from None
