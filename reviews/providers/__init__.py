"""The reviewers there are, by name."""

from collections.abc import Callable

from reviews.providers.base import Provider
from reviews.providers.embedded import EmbeddedReviewer

PROVIDERS: dict[str, Callable[[], Provider]] = {EmbeddedReviewer.name: EmbeddedReviewer}
DEFAULT_PROVIDER = EmbeddedReviewer.name


class UnknownProvider(LookupError):
    pass


def provider_named(name: str) -> Provider:
    """Raises UnknownProvider."""
    try:
        return PROVIDERS[name]()
    except KeyError:
        raise UnknownProvider(f"unknown provider {name!r}; choose from: {', '.join(PROVIDERS)}") from None
