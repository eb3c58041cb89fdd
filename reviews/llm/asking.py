"""One question to a language model with an answer of a given form: for replies, issues and checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from pydantic import Field

from reviews.llm.accounts import find
from reviews.llm.budget import estimator
from reviews.llm.calls import Caller, is_last_attempt
from reviews.llm.client import Prompt
from reviews.llm.costs import Scope, tokens_correction
from reviews.llm.errors import LlmBusy, LlmFailed, LlmUnavailable
from reviews.llm.prompts import DATA_RULES, data, new_nonce
from reviews.llm.schema import Typed, json_schema_of
from reviews.policy import ReviewSettings

T = TypeVar("T", bound=Typed)

ASK_SECONDS = 80.0
MAX_ANSWER_CHARACTERS = 6_000


def ask(
    provider_name: str,
    purpose: str,
    system: str,
    blocks: Sequence[tuple[str, str]],
    schema: type[T],
    scope: Scope | None = None,
) -> tuple[T, Decimal]:
    """An answer, and what it cost in dollars.

    system: the task, the same every time. blocks: (what it is, text from outside), declared to be data and cut, the
    longest first, to what one request takes. Raises LlmFailed (LlmBusy: later it may answer), and Throttled.
    """
    provider = find(provider_name)
    if provider is None:
        raise LlmUnavailable(f"no language model is set up under the name {provider_name!r}")
    nonce = new_nonce()
    tokens = estimator(tokens_correction(provider))
    system = f"{system}\n\n{DATA_RULES}"
    room = int((provider.context_tokens - tokens(system)) / tokens("x" * 1000) * 1000)
    texts = _fitting([text for _, text in blocks], room - 100 * len(blocks))
    shown = [data(label, text, nonce) for (label, _), text in zip(blocks, texts, strict=True) if text.strip()]
    prompt = Prompt(
        system=system,
        common=f"The delimiter of this request's data is {nonce}.",
        text="\n\n".join(shown),
        schema_name=purpose,
        schema=json_schema_of(schema),
    )
    caller = Caller(provider, scope or Scope(), schema, nonce, ASK_SECONDS, is_last_attempt())
    (answer,) = caller.ask(purpose, [prompt])
    if isinstance(answer, LlmFailed):
        raise answer
    return answer, caller.spent.dollars


def _fitting(texts: list[str], room: int) -> list[str]:
    """Texts cut so that together they have so many characters at most; short ones stay whole."""
    left, waiting = room, sorted(range(len(texts)), key=lambda index: len(texts[index]))
    fitting = list(texts)
    for place, index in enumerate(waiting):
        share = max(0, left // (len(waiting) - place))
        if len(texts[index].encode("utf-8", "replace")) > share:
            kept = texts[index].encode("utf-8", "replace")[: max(0, share - 10)].decode("utf-8", "ignore")
            fitting[index] = f"{kept}… [cut]" if kept else ""
        left -= len(fitting[index].encode("utf-8", "replace"))
    return fitting


@dataclass(frozen=True)
class Part:
    """label: what it is. text: from outside, so data."""

    label: str
    text: str


@dataclass(frozen=True)
class Material:
    """What a question on a pull request is answered from."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Said:
    """text: plain text, None where there is none, and why_not then says why."""

    text: str | None
    why_not: str = ""
    cost_usd: Decimal = Decimal(0)


class ReplyAnswer(Typed):
    answer: str = Field(description="The answer to the question: plain text, at most 200 words.")


REPLY_SYSTEM = """\
You answer a question that somebody asked in a pull request about a finding of an automatic review, or about the change.
Answer the last question of the thread from what you are shown; say so when it cannot be told from that. When the person
is right that a finding is wrong, say so plainly. Write plain text without links and mentions. You cannot change
anything, run anything or promise anything; commands such as dismiss are carried out elsewhere."""


def answer_question(
    settings: ReviewSettings, told: Material, *, repository_id: int | None = None, number: int | None = None
) -> Said:
    """Have the repository's language model answer. Raises Throttled and LlmBusy while the job has attempts left."""
    scope = Scope(
        repository_id=repository_id,
        number=number,
        change_cap_usd=settings.change_cap_usd,
        daily_cap_usd=settings.daily_cap_usd,
    )
    language = "".join(char for char in settings.language[:40] if char.isalnum() or char in " ()-") or "English"
    blocks = [("title of the pull request", told.title), *((part.label, part.text) for part in told.parts)]
    system = f"{REPLY_SYSTEM}\nWrite in {language}."
    try:
        answer, dollars = ask(settings.provider, "reply", system, blocks, ReplyAnswer, scope)
    except LlmBusy as exc:
        if not is_last_attempt():
            raise
        return Said(None, str(exc))
    except LlmFailed as exc:
        return Said(None, str(exc))
    text = answer.answer.strip()[:MAX_ANSWER_CHARACTERS]
    return Said(text or None, "" if text else "it answered with nothing", dollars)


__all__ = ["Material", "Part", "Said", "answer_question", "ask"]
