"""What the errors of OpenAI's API mean here: ask again later, mend a setting, or leave a text out."""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from django.conf import settings

from embeddings.encoders.base import EncoderUnavailable, ProviderBusy, TextRefused
from jobs.unreachable import why_unreachable

UNREACHABLE_SECONDS = 15.0
_BUSY_SECONDS = 10.0
_LONGEST_SECONDS = 600.0
_MESSAGE_CHARACTERS = 300
_TEXT_STATUSES = {400, 413, 422}
_BUSY_STATUSES = {408, 409, 425, 429}
# 429 with this code stays so until somebody pays.
_NO_MONEY = "insufficient_quota"


@contextlib.contextmanager
def told_apart(model: str) -> Iterator[None]:
    """Raise ProviderBusy, TextRefused (index 0) or EncoderUnavailable for the SDK's errors."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _meaning(model, error) from None
    except openai.APIConnectionError as error:
        why = why_unreachable(error)
        raise ProviderBusy(UNREACHABLE_SECONDS, f"{model}: the provider cannot be reached ({why})") from None
    except openai.OpenAIError as error:
        raise EncoderUnavailable(f"{model}: {without_secrets(str(error))}") from None


def _meaning(model: str, error: Any) -> Exception:
    """error: an openai.APIStatusError."""
    status = error.status_code
    said = f"{model}: the provider answered {status}: {without_secrets(str(error.message))}"
    if status in _TEXT_STATUSES:
        return TextRefused(0, said)
    if (status in _BUSY_STATUSES and error.code != _NO_MONEY) or status >= 500:
        return ProviderBusy(_retry_after(error.response.headers), said)
    remedy = {
        401: "; check OPENAI_API_KEY",
        403: "; check what OPENAI_API_KEY may use",
        404: "; check the model's name and OPENAI_BASE_URL",
        429: "; check the account's billing",
    }
    return EncoderUnavailable(said + remedy.get(status, ""))


def without_secrets(message: str) -> str:
    """A provider's message without the key, which some repeat."""
    key = settings.EMBEDDINGS["OPENAI_API_KEY"]
    if key:
        message = message.replace(key, "…")
    return re.sub(r"\bsk-[\w*-]+", "sk-…", message)[:_MESSAGE_CHARACTERS]


def _retry_after(headers: Any) -> float:
    """Seconds that the provider asks to wait: a number, or a date by its clock; within bounds."""
    with contextlib.suppress(TypeError, ValueError):
        return _bounded(float(headers.get("retry-after-ms")) / 1000)
    with contextlib.suppress(TypeError, ValueError):
        return _bounded(float(headers.get("retry-after")))
    with contextlib.suppress(TypeError, ValueError):
        at = parsedate_to_datetime(headers.get("retry-after"))
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return _bounded((at - now).total_seconds())
    return _BUSY_SECONDS


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), _LONGEST_SECONDS) if seconds == seconds else _BUSY_SECONDS  # noqa: PLR0124  (nan)
