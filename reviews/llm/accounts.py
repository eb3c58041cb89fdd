"""Providers by name, with the key that each may use."""

from django.conf import settings

from jobs.secrets import Secret, SecretUnreadable
from reviews.llm.client import Client
from reviews.llm.errors import LlmUnavailable
from reviews.llm.prices import Price, price_of
from reviews.models import LlmKind, LlmProvider

_OPENAI_URL = "https://api.openai.com/v1"


def find(name: str) -> LlmProvider | None:
    """The provider of that name; `anthropic` and `openai` are made when the environment has a key and a model.

    An address of one's own, which OPENAI_BASE_URL gives, may ask for no key.
    """
    row = LlmProvider.objects.filter(name=name).first()
    if row is not None or name not in LlmKind.values:
        return row
    model = _environment_model(name)
    if not model or lacking(name):
        return None
    price = price_of(model) or Price.of("0 0 0")
    defaults = {
        "kind": name,
        "model": model,
        "base_url": _environment_url(name),
        "input_usd_per_million": price.input,
        "cached_usd_per_million": price.cached,
        "output_usd_per_million": price.output,
    }
    return LlmProvider.objects.get_or_create(name=name, defaults=defaults)[0]


def names() -> list[str]:
    """Those that `find` finds: entered by an operator, by name, then those that the environment has."""
    in_environment = [kind for kind in LlmKind.values if _environment_model(kind) and not lacking(kind)]
    entered = LlmProvider.objects.order_by("name").values_list("name", flat=True)
    return list(dict.fromkeys([*entered, *in_environment]))


def lacking(name: str) -> str:
    """The variable that the environment lacks for a provider of which it has something; empty where it lacks none."""
    if name not in LlmKind.values:
        return ""
    model, access = _environment_model(name), _environment_key(name) or _environment_url(name)
    if bool(model) == bool(access):
        return ""
    return f"{name.upper()}_API_KEY" if model else f"{name.upper()}_MODEL"


def remedy(name: str) -> str:
    """What to do about a name that the environment tells of by half; empty for others."""
    missing = lacking(name)
    return f"set {missing} in the environment, or enter a provider; until then " if missing else ""


def key_of(row: LlmProvider) -> Secret:
    """Its own key, else the environment's; that one goes to no other address than its own. Raises LlmUnavailable.

    Empty for an endpoint at an address of its own, which may ask for none.
    """
    try:
        if row.api_key:
            return Secret(row.api_key.reveal())
    except SecretUnreadable as exc:
        raise LlmUnavailable(f"{row.name}: {exc}") from None
    if row.base_url and row.base_url.rstrip("/") != _environment_url(row.kind).rstrip("/"):
        return Secret()
    key = _environment_key(row.kind)
    if not key and not row.base_url:
        variable = f"{row.kind.upper()}_API_KEY"
        raise LlmUnavailable(f"{row.name} has no API key; set {variable}, or enter one for it")
    return Secret(key)


def client_of(row: LlmProvider) -> Client:
    """Raises LlmUnavailable. Loads the provider's SDK, which takes a second: for workers and commands alone."""
    if not row.enabled:
        raise LlmUnavailable(f"{row.name} is switched off")
    key = key_of(row)
    if row.kind == LlmKind.ANTHROPIC:
        from reviews.llm.anthropic_client import AnthropicClient

        return AnthropicClient(row.name, row.model, key, row.base_url)
    from reviews.llm.openai_client import OpenAIClient

    return OpenAIClient(row.name, row.model, key, row.base_url)


def _environment_key(kind: str) -> str:
    return str(settings.REVIEWS.get(f"{kind.upper()}_API_KEY", ""))


def _environment_model(kind: str) -> str:
    return str(settings.REVIEWS.get(f"{kind.upper()}_MODEL", ""))


def _environment_url(kind: str) -> str:
    """The address that the environment's key belongs to; empty for the provider's own."""
    url = str(settings.EMBEDDINGS.get("OPENAI_BASE_URL", "")) if kind == LlmKind.OPENAI else ""
    return "" if url.rstrip("/") == _OPENAI_URL else url
