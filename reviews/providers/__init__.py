"""The reviewers there are, by name."""

from collections.abc import Callable

from reviews.providers.base import Provider
from reviews.providers.embedded import EmbeddedReviewer

PROVIDERS: dict[str, Callable[[], Provider]] = {EmbeddedReviewer.name: EmbeddedReviewer}
DEFAULT_PROVIDER = EmbeddedReviewer.name


class UnknownProvider(LookupError):
    pass


def provider_named(name: str) -> Provider:
    """A reviewer: the embedded one, or a language model that an operator has entered. Raises UnknownProvider.

    A language model alone tells what it found itself; `combined.review` has the embedded reviewer go first.
    """
    if name in PROVIDERS:
        return PROVIDERS[name]()
    from reviews.llm import accounts
    from reviews.llm.reviewer import LlmReviewer

    provider = accounts.find(name)
    if provider is None:
        names = ", ".join([*PROVIDERS, *accounts.names()])
        raise UnknownProvider(f"unknown provider {name!r}; {accounts.remedy(name)}choose from: {names}")
    return LlmReviewer(provider)
