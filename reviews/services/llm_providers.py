"""What operators do with language models: enter, change, remove and try them, by the admin, REST and commands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from jobs.operators.actors import Actor
from reviews.llm.prices import price_of
from reviews.models import LlmKind, LlmProvider, Repository
from reviews.policy import EMBEDDED, OFFLINE
from reviews.services.payloads import clean_text

TAKEN_NAMES = (EMBEDDED, OFFLINE)
FIELDS = frozenset(
    {
        "name", "kind", "model", "base_url", "api_key", "enabled", "context_tokens", "output_tokens", "max_requests",
        "input_usd_per_million", "cached_usd_per_million", "output_usd_per_million", "change_cap_usd",
        "daily_cap_usd", "requests_per_minute", "min_confidence",
    }
)  # fmt: skip
_PRICES = ("input_usd_per_million", "cached_usd_per_million", "output_usd_per_million")
# field → (least, most)
_BOUNDS: dict[str, tuple[int, int]] = {
    "context_tokens": (4_000, 1_000_000),
    "output_tokens": (500, 128_000),
    "max_requests": (1, 100),
    "requests_per_minute": (1, 100_000),
}


class LlmProviderRefused(ValueError):
    """The provider cannot be as asked for; the message names the value and the remedy. errors: by field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True)
class Checked:
    """What came of trying a provider. message: what was wrong, with the remedy; empty where it works."""

    works: bool
    message: str
    cost_usd: Decimal = Decimal(0)


def create(actor: Actor, **values: Any) -> LlmProvider:
    """Enter a provider. Prices that are not given are those that are known of the model.

    Raises PermissionDenied (reviews.add_llmprovider), LlmProviderRefused.
    """
    actor.require("reviews.add_llmprovider")
    _check_fields(values)
    if not all(name in values for name in _PRICES):
        values = {**_known_prices(values), **values}
    return _save(actor, LlmProvider(**values), "llm_provider.create", values)


def change(actor: Actor, provider: LlmProvider, **values: Any) -> LlmProvider:
    """Change some of its fields; an empty api_key takes the key away. Its name stays.

    Raises PermissionDenied (reviews.change_llmprovider), LlmProviderRefused.
    """
    actor.require("reviews.change_llmprovider")
    _check_fields(values)
    if values.get("name", provider.name) != provider.name:
        raise LlmProviderRefused({"name": "repositories choose it by its name, which stays; enter another provider"})
    with transaction.atomic():
        row = LlmProvider.objects.select_for_update().get(pk=provider.pk)
        moved = values.get("base_url", row.base_url) != row.base_url or values.get("kind", row.kind) != row.kind
        if moved and row.api_key and "api_key" not in values:
            # Whoever may change the address must not learn the key by it.
            raise LlmProviderRefused({"api_key": "enter it again: it was given to the former address"})
        for name, value in values.items():
            setattr(row, name, value)
        return _save(actor, row, "llm_provider.change", values)


def remove(actor: Actor, provider: LlmProvider) -> None:
    """Raises PermissionDenied (reviews.delete_llmprovider), LlmProviderRefused while a repository uses it."""
    actor.require("reviews.delete_llmprovider")
    users = Repository.objects.filter(provider=provider.name) | Repository.objects.filter(issue_provider=provider.name)
    names = list(users.order_by("full_name").values_list("full_name", flat=True)[:5])
    if names:
        raise LlmProviderRefused({"name": f"{', '.join(names)} use it; choose another reviewer there first"})
    with transaction.atomic():
        provider.delete()
        actor.record("llm_provider.delete", provider.name)


def check(actor: Actor, provider: LlmProvider) -> Checked:
    """Send a tiny request, which tells whether key and model work. It loads the SDK: pages use `have_checked`.

    Raises PermissionDenied (reviews.change_llmprovider).
    """
    actor.require("reviews.change_llmprovider")
    checked = try_out(provider.name)
    actor.record("llm_provider.check", provider.name, works=checked.works, message=checked.message)
    return checked


def have_checked(actor: Actor, provider: LlmProvider) -> str:
    """The same by a job, whose id is returned; what came of it stands in `checked_at` and `error`."""
    from reviews.tasks import check_llm_provider

    actor.require("reviews.change_llmprovider")
    with transaction.atomic():
        sent = check_llm_provider.delay(provider_name=provider.name)
        actor.record("llm_provider.check", provider.name, job=sent.id)
    return str(sent.id)


def try_out(name: str) -> Checked:
    """Try a provider and note what came of it; booked and capped as every call."""
    from reviews.llm import asking
    from reviews.llm.errors import LlmFailed
    from reviews.llm.schema import Typed
    from reviews.services.throttle import Throttled

    class Works(Typed):
        ok: bool

    try:
        _, dollars = asking.ask(name, "check", 'Answer with {"ok": true}.', [("a greeting", "hello")], Works)
        checked = Checked(True, "", dollars)
    except (LlmFailed, Throttled) as exc:
        checked = Checked(False, clean_text(str(exc)))
    LlmProvider.objects.filter(name=name).update(checked_at=Now(), error=checked.message)
    return checked


def _save(actor: Actor, row: LlmProvider, action: str, values: Mapping[str, Any]) -> LlmProvider:
    _check_values(row)
    try:
        with transaction.atomic():
            row.save()
            shown = {name: str(value) for name, value in values.items() if name != "api_key"}
            actor.record(action, row.name, **shown, **({"api_key": "entered"} if values.get("api_key") else {}))
    except IntegrityError:
        raise LlmProviderRefused({"name": f"{row.name} is taken; choose another name"}) from None
    row.refresh_from_db()
    return row


def _check_fields(values: Mapping[str, Any]) -> None:
    unknown = sorted(set(values) - FIELDS)
    if unknown:
        raise LlmProviderRefused({name: f"unknown; there are {', '.join(sorted(FIELDS))}" for name in unknown})


def _check_values(row: LlmProvider) -> None:
    errors: dict[str, str] = {}
    try:
        row.clean_fields()
    except ValidationError as exc:
        errors |= {name: " ".join(texts) for name, texts in exc.message_dict.items()}
    if row.name in TAKEN_NAMES:
        errors["name"] = f"{row.name} is the name of what needs no model; choose another"
    elif row.name in LlmKind.values and row.name != row.kind:
        errors["name"] = f"{row.name} is kept for a provider of that kind; choose another"
    if not re.fullmatch(r"[\w./:@+-]+", row.model or ""):
        errors.setdefault("model", f"{row.model!r} is no model's name; write it as the provider does")
    for name, (least, most) in _BOUNDS.items():
        value = getattr(row, name)
        if name not in errors and not least <= int(value) <= most:
            errors[name] = f"{value} is outside {least:,} to {most:,}"
    for name in (*_PRICES, "change_cap_usd", "daily_cap_usd"):
        if name not in errors and Decimal(str(getattr(row, name))) < 0:
            errors[name] = f"{getattr(row, name)} is below 0"
    if "min_confidence" not in errors and not 0 <= float(row.min_confidence) <= 1:
        errors["min_confidence"] = f"{row.min_confidence} is outside 0 to 1"
    if row.base_url and not re.match(r"https?://[^@\s]+$", row.base_url):
        errors["base_url"] = "write https://HOST/PATH, without a user or password"
    if errors:
        raise LlmProviderRefused(errors)


def _known_prices(values: Mapping[str, Any]) -> dict[str, Decimal]:
    """Without prices no cap would ever be reached, so that they are known or asked for."""
    price = price_of(str(values.get("model", "")))
    if price is not None:
        return dict(zip(_PRICES, (price.input, price.cached, price.output), strict=True))
    if values.get("base_url"):
        return {}
    missing = dict.fromkeys(_PRICES, "the price of this model is not known; give it, 0 for none")
    raise LlmProviderRefused({name: text for name, text in missing.items() if name not in values})


__all__ = ["Checked", "LlmProviderRefused", "change", "check", "create", "have_checked", "remove", "try_out"]
