"""Why a language model gave no answer that can be used. No message holds a key."""

from reviews.providers.base import ProviderFailed


class LlmFailed(ProviderFailed):
    """There is no answer; the message says why, in words for a review's footer."""


class LlmBusy(LlmFailed):
    """Asked later, it may answer. retry_after_seconds: the wait that it asked for.

    may_have_cost: the request may have been worked on, as when its answer did not come in time.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None, *, may_have_cost: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.may_have_cost = may_have_cost


class LlmUnavailable(LlmFailed):
    """It will not answer until somebody changes something: a key, a model's name, an account."""


class LlmCapped(LlmFailed):
    """A cap on its cost keeps it from being asked."""


class LlmTooLong(LlmFailed):
    """The request is longer than the model takes."""


class LlmInvalid(LlmFailed):
    """Its answer, and the one that it gave to mend it, are not what was asked for."""


class FormRefused(LlmUnavailable):
    """The endpoint does not know this way to ask for typed output, or this parameter."""
