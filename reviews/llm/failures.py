"""What the errors of a provider's SDK mean here: ask later, mend a setting, or send less."""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any

from jobs.secrets import Secret
from jobs.unreachable import why_unreachable
from reviews.llm.client import Form
from reviews.llm.errors import FormRefused, LlmBusy, LlmFailed, LlmTooLong, LlmUnavailable

LONGEST_WAIT_SECONDS = 3600.0
MESSAGE_CHARACTERS = 300

_BUSY_STATUSES = {408, 409, 425, 429}
_REQUEST_STATUSES = {400, 413, 422}
_REMEDIES = {
    401: "; check its API key",
    402: "; check the account's billing",
    403: "; check what its API key may use",
    404: "; check the model's name and the base URL",
}
_TOO_LONG = re.compile(
    r"too (long|large|many (input )?tokens)|context.{0,20}(length|window|limit)|maximum.{0,20}tokens", re.IGNORECASE
)
_OUT_OF_MONEY = re.compile(r"insufficient_quota|credit balance|billing", re.IGNORECASE)
_FORM_WORDS: dict[Form, re.Pattern[str]] = {
    "schema": re.compile(r"output_config|output_format|response_format|json_schema|schema|structured", re.IGNORECASE),
    "tool": re.compile(r"tool|function", re.IGNORECASE),
    "text": re.compile(r"(?!)"),
}
_PARAMETER = re.compile(r"max_(completion_)?tokens")


@contextlib.contextmanager
def told_apart(sdk: ModuleType, name: str, key: Secret, form: Form) -> Iterator[None]:
    """Raise LlmFailed for the errors of an SDK. sdk: `anthropic` or `openai`, whose errors are named alike."""
    try:
        yield
    except sdk.APIStatusError as error:
        raise _meaning(name, error, key, form) from None
    except sdk.APITimeoutError as error:
        connected = "Connect" not in _cause(error) and "Pool" not in _cause(error)
        raise LlmBusy(f"{name} did not answer in time", may_have_cost=connected) from None
    except sdk.APIConnectionError as error:
        sent = "Connect" not in _cause(error)
        raise LlmBusy(f"{name} cannot be reached ({why_unreachable(error)})", may_have_cost=sent) from None
    except (sdk.APIError, ValueError) as error:
        said = without_secrets(str(error), key)
        raise LlmBusy(f"{name} gave no answer that is one: {said}", may_have_cost=True) from None
    except (getattr(sdk, "AnthropicError", sdk.APIError), getattr(sdk, "OpenAIError", sdk.APIError)) as error:
        raise LlmUnavailable(f"{name}: {without_secrets(str(error), key)}") from None


def _cause(error: Exception) -> str:
    return type(error.__cause__ or error).__name__


def _meaning(name: str, error: Any, key: Secret, form: Form) -> LlmFailed:
    """error: an APIStatusError."""
    status, details = error.status_code, str(error.body or error.message)
    said = f"{name} answered {status}: {without_secrets(_message(error), key)}"
    if status == 413 or (status in _REQUEST_STATUSES and _TOO_LONG.search(details) and not _PARAMETER.search(details)):
        return LlmTooLong(said)
    if status in _REQUEST_STATUSES and (_FORM_WORDS[form].search(details) or _PARAMETER.search(details)):
        return FormRefused(said)
    if (status in _BUSY_STATUSES and not _OUT_OF_MONEY.search(details)) or status >= 500:
        return LlmBusy(said, retry_after(error.response.headers))
    remedy = _REMEDIES[402] if _OUT_OF_MONEY.search(details) else _REMEDIES.get(status, "")
    return LlmUnavailable(said + remedy)


def _message(error: Any) -> str:
    """What the provider says of it, without the JSON around."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error", body)
    message = inner.get("message") if isinstance(inner, dict) else None
    return str(message) if message else " ".join(str(error.message).split())


def without_secrets(message: str, key: Secret) -> str:
    """A provider's message without the key, which some repeat."""
    if key:
        message = message.replace(key.reveal(), "…")
    message = re.sub(r"\bsk-[\w*-]+", "sk-…", message)
    return "".join(char if char.isprintable() else " " for char in message)[:MESSAGE_CHARACTERS]


def retry_after(headers: Any) -> float | None:
    """Seconds that the provider asks to wait: a number, or a date by its own clock; None where it names none."""
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(TypeError, ValueError):
            return _bounded(float(headers.get(header)) / unit)
    with contextlib.suppress(TypeError, ValueError):
        at = parsedate_to_datetime(headers.get("retry-after"))
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return _bounded((at - now).total_seconds())
    return None


def _bounded(seconds: float) -> float | None:
    return None if seconds != seconds else min(max(seconds, 1.0), LONGEST_WAIT_SECONDS)  # noqa: PLR0124  (nan)
