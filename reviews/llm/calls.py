"""Asks a language model: within its rate and its caps, booked, checked, repaired once, and several at a time.

Only the requests themselves run in threads; what is read from and written to Postgres stays in the caller's.
"""

import hashlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import BaseModel

from jobs.ledger.run import current_run
from reviews.llm import costs
from reviews.llm.accounts import client_of
from reviews.llm.budget import estimator
from reviews.llm.client import Answer, Client, Prompt
from reviews.llm.errors import LlmBusy, LlmCapped, LlmFailed, LlmInvalid, LlmTooLong, LlmUnavailable
from reviews.llm.prompts import repair_prompt
from reviews.llm.schema import parse
from reviews.models import LlmCall, LlmProvider
from reviews.services import throttle

A = TypeVar("A", bound=BaseModel)

PARALLEL = 4
CALL_SECONDS = 90.0
# A call with less time than this is not begun.
LEAST_SECONDS = 5.0


class LlmOutOfTime(LlmFailed):
    """The time for all calls together is used up."""


@dataclass
class _Asked:
    """One request on its way. former: the first answer, when this one is to mend it; problem: what was wrong."""

    index: int
    prompt: Prompt
    purpose: str
    original: Prompt
    problem: str = ""
    call: LlmCall | None = None
    began: float = 0.0


@dataclass
class Spent:
    """dollars: of the calls made now, not of those remembered. requests: how many were made."""

    dollars: Decimal = Decimal(0)
    requests: int = 0


@dataclass
class Caller(Generic[A]):
    """Asks one provider for answers of one kind. seconds: for all of it; is_last: nobody will ask again later."""

    provider: LlmProvider
    scope: costs.Scope
    answer: type[A]
    nonce: str
    seconds: float
    is_last: bool = True
    spent: Spent = field(default_factory=Spent)
    _deadline: float = 0.0

    def ask(self, purpose: str, prompts: Sequence[Prompt]) -> list[A | LlmFailed]:
        """An answer, or why there is none, for each prompt, in their order.

        The first is asked alone, so that the others find what they share in the provider's cache. Raises
        LlmUnavailable when nothing can be asked, and, unless `is_last`, Throttled and LlmBusy: what was answered
        until then is not asked again by the job's next attempt.
        """
        self._deadline = time.monotonic() + self.seconds
        client = client_of(self.provider)
        executor = ThreadPoolExecutor(PARALLEL, thread_name_prefix="llm")
        try:
            return self._ask(client, executor, purpose, prompts)
        finally:
            client.close()
            executor.shutdown(wait=False, cancel_futures=True)

    def _ask(
        self, client: Client, executor: ThreadPoolExecutor, purpose: str, prompts: Sequence[Prompt]
    ) -> list[A | LlmFailed]:
        answers: dict[int, A | LlmFailed] = {}
        todo = deque(_Asked(index, prompt, purpose, prompt) for index, prompt in enumerate(prompts))
        width = 1
        while todo:
            wave: list[tuple[_Asked, Future[Answer]]] = []
            stopped: LlmFailed | throttle.Throttled | None = None
            try:
                while todo and len(wave) < width and stopped is None:
                    asked = todo.popleft()
                    stopped = self._begin(client, executor, asked, answers, wave)
                for asked, future in wave:
                    failed = self._end(asked, future, answers, todo)
                    stopped = stopped or failed
            finally:
                self._give_up(wave)
            width = PARALLEL
            if stopped is not None:
                self._stop(stopped, answers, len(prompts))
                break
        return [answers[index] for index in range(len(prompts))]

    def _begin(
        self,
        client: Client,
        executor: ThreadPoolExecutor,
        asked: _Asked,
        answers: dict[int, A | LlmFailed],
        wave: list[tuple[_Asked, Future[Answer]]],
    ) -> LlmFailed | throttle.Throttled | None:
        """Book a request and send it, unless it was answered before. Returns what keeps all further ones back."""
        wanted = self._wanted(asked)
        known = costs.remembered(self.provider, self.scope, wanted.digest)
        if known is not None and (answer := _read(self.answer, known.answer)) is not None:
            answers[asked.index] = answer
            return None
        left = self._deadline - time.monotonic()
        try:
            if left < LEAST_SECONDS:
                raise LlmOutOfTime(f"the {self.seconds:.0f} s for {self.provider.name} were used up")
            self._wait_for_turn(left)
            asked.call = costs.reserve(self.provider, self.scope, wanted)
        except (LlmFailed, throttle.Throttled) as stopped:
            return stopped
        asked.began = time.monotonic()
        self.spent.requests += 1
        seconds = min(CALL_SECONDS, left)
        wave.append((asked, executor.submit(client.complete, asked.prompt, self.provider.output_tokens, seconds)))
        return None

    def _wait_for_turn(self, left: float) -> None:
        """Raises Throttled."""
        a_minute = self.provider.requests_per_minute or 1
        limit = throttle.Limit("requests", spacing_seconds=60 / a_minute, burst=max(1, a_minute // 4))
        patience = min(left / 2, throttle.PATIENCE_SECONDS)
        throttle.spend(_key(self.provider), limits=[limit], patience_seconds=patience)

    def _end(
        self, asked: _Asked, future: "Future[Answer]", answers: dict[int, A | LlmFailed], todo: deque[_Asked]
    ) -> LlmFailed | throttle.Throttled | None:
        """Settle a request and read its answer; one that is none is asked for once more."""
        assert asked.call is not None
        left = max(0.0, asked.began + CALL_SECONDS + LEAST_SECONDS - time.monotonic())
        try:
            answer = future.result(timeout=left)
        except TimeoutError:
            failed: LlmFailed = LlmBusy(f"{self.provider.name} did not answer in time", may_have_cost=True)
        except LlmFailed as exc:
            failed = exc
        else:
            self._read_answer(asked, answer, answers, todo)
            return None
        dollars = None if isinstance(failed, LlmBusy) and failed.may_have_cost else Decimal(0)
        self._settle(asked, dollars, error=str(failed))
        answers[asked.index] = failed
        if isinstance(failed, LlmBusy) and failed.retry_after_seconds is not None:
            throttle.close(_key(self.provider), failed.retry_after_seconds, str(failed))
            return throttle.Throttled(failed.retry_after_seconds, str(failed), _key(self.provider))
        return failed if isinstance(failed, (LlmBusy, LlmUnavailable)) else None

    def _read_answer(
        self, asked: _Asked, answer: Answer, answers: dict[int, A | LlmFailed], todo: deque[_Asked]
    ) -> None:
        # A server that tells no usage is booked at the most that the call may have cost.
        usage = answer.usage if answer.usage.input else None
        dollars = costs.cost(self.provider, usage) if usage else None
        try:
            if answer.stop == "refused":
                raise LlmInvalid(f"{self.provider.name} refused to answer")
            if answer.stop == "cut":
                raise LlmInvalid(f"it was cut off after {self.provider.output_tokens:,} tokens; be much briefer")
            read = parse(self.answer, answer.text)
        except LlmInvalid as exc:
            self._settle(asked, dollars, answer, error=f"not usable: {exc}")
            if asked.problem or answer.stop == "refused":
                answers[asked.index] = LlmInvalid(f"the answer of {self.provider.name} cannot be used: {exc}")
            else:
                mended = repair_prompt(asked.original, answer.text, str(exc), self.nonce)
                todo.append(_Asked(asked.index, mended, "repair", asked.original, str(exc)))
        else:
            self._settle(asked, dollars, answer, kept=read.model_dump(mode="json"))
            answers[asked.index] = read

    def _settle(
        self,
        asked: _Asked,
        dollars: Decimal | None,
        answer: Answer | None = None,
        *,
        error: str = "",
        kept: object = None,
    ) -> None:
        assert asked.call is not None
        usage = answer.usage if answer is not None and answer.usage.input else None
        self.spent.dollars += asked.call.cost_usd if dollars is None else dollars
        seconds = round(time.monotonic() - asked.began, 3)
        costs.settle(asked.call, dollars, usage, seconds=seconds, error=error, answer=kept)
        asked.call = None

    def _give_up(self, wave: Sequence[tuple[_Asked, "Future[Answer]"]]) -> None:
        """End what an error, or a limit on time, left under way."""
        for asked, _ in wave:
            if asked.call is not None:
                costs.settle(asked.call, None, error=costs.CUT_OFF)

    def _stop(self, stopped: LlmFailed | throttle.Throttled, answers: dict[int, A | LlmFailed], count: int) -> None:
        """Nothing further is asked: postpone all of it where that helps, or say why for each."""
        if isinstance(stopped, (throttle.Throttled, LlmBusy)) and not self.is_last:
            raise stopped
        why = stopped if isinstance(stopped, LlmFailed) else LlmBusy(f"{self.provider.name} is busy: {stopped}")
        for index in range(count):
            answers.setdefault(index, why)

    def _wanted(self, asked: _Asked) -> costs.Wanted:
        """A mended answer is kept under the request that it answers, for the next attempt to find."""
        prompt, original = asked.prompt, asked.original
        texts = (self.provider.model, prompt.schema_name, original.system, original.common, original.text)
        digest = hashlib.sha256("\0".join(texts).replace(self.nonce, "").encode("utf-8", "replace")).hexdigest()
        estimated = estimator()(prompt.system + prompt.common + prompt.text)
        return costs.Wanted(asked.purpose, prompt.size, estimated, self.provider.output_tokens, digest)


def _key(provider: LlmProvider) -> str:
    return f"llm:{provider.name}"


def _read(answer: type[A], kept: object) -> A | None:
    """An answer from the ledger; None when it is not of this kind any more."""
    try:
        return answer.model_validate(kept)
    except ValueError:
        return None


def is_last_attempt() -> bool:
    """Whether an error of the job that runs now is the end of it; outside of jobs it always is."""
    run = current_run()
    return run is None or not run.has_attempts_left


__all__ = ["Caller", "LlmCapped", "LlmOutOfTime", "LlmTooLong", "Spent", "is_last_attempt"]
