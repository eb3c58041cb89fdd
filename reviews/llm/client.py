"""What is asked of a language model's API and what comes back, whichever API it is."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, Protocol

CONNECT_SECONDS = 10.0

Stop = Literal["end", "cut", "refused"]
Form = Literal["schema", "tool", "text"]


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counts them. input: all of them; cached, written: of these, by its cache."""

    input: int
    output: int
    cached: int = 0
    written: int = 0


def counted(value: Any) -> int:
    """A number of tokens as a server tells it; 0 for what can be none."""
    return value if type(value) is int and 0 <= value < 2**31 else 0


@dataclass(frozen=True)
class Prompt:
    """One request. The parts stand in this order, the steadiest first, so that a provider's cache knows them.

    system: the same for every request of its kind. common: the same for the requests of one change; is_shared:
    whether there are several. schema: JSON Schema of the answer, schema_name its name.
    """

    system: str
    common: str
    text: str
    schema_name: str
    schema: dict[str, Any] = field(hash=False)
    is_shared: bool = False

    @property
    def size(self) -> int:
        """Bytes, with those of the schema."""
        texts = (self.system, self.common, self.text, json.dumps(self.schema))
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


@dataclass(frozen=True)
class Answer:
    """text: the JSON that was answered, as text. stop: whether it came to its end."""

    text: str
    usage: Usage
    stop: Stop = "end"


class Client(Protocol):
    """An endpoint with its key, for one review or reply."""

    def complete(self, prompt: Prompt, max_tokens: int, timeout_seconds: float) -> Answer:
        """Send one request, once. Raises LlmFailed."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


class Forms:
    """Which way to ask for typed output an endpoint takes: learned from its refusals, for this process."""

    def __init__(self, order: tuple[Form, ...] = ("schema", "tool", "text")) -> None:
        self._order = order
        self._known: dict[tuple[str, str], Form] = {}
        self._lock = Lock()

    def of(self, endpoint: tuple[str, str]) -> Iterator[Form]:
        """The forms to try, beginning with the one that was taken before. endpoint: address and model."""
        first = self._order.index(self._known.get(endpoint, self._order[0]))
        yield from self._order[first:]

    def taken(self, endpoint: tuple[str, str], form: Form) -> None:
        with self._lock:
            self._known[endpoint] = form

    def forget(self) -> None:
        self._known.clear()


def with_schema(system: str, schema: dict[str, Any]) -> str:
    """The system prompt for an endpoint that takes no schema."""
    return f"{system}\n\nAnswer with one JSON object alone, by this JSON Schema:\n{json.dumps(schema)}"
