"""Anthropic's Messages API by its own SDK.

Source: https://platform.claude.com/docs/en/api/messages, "Structured outputs" and "Prompt caching" there.
"""

import json
from typing import TYPE_CHECKING, Any

from jobs.secrets import Secret
from reviews.llm.client import CONNECT_SECONDS, Answer, Form, Forms, Prompt, Stop, Usage, counted, with_schema
from reviews.llm.errors import FormRefused, LlmBusy
from reviews.llm.failures import told_apart

if TYPE_CHECKING:
    from anthropic.types import Message

BASE_URL = "https://api.anthropic.com"
_CACHED = {"cache_control": {"type": "ephemeral"}}
_STOPS: dict[str | None, Stop] = {"max_tokens": "cut", "model_context_window_exceeded": "cut", "refusal": "refused"}
# Models that always think refuse to be made to use a tool; older ones, and gateways, know no schema of the answer.
_forms = Forms()


class AnthropicClient:
    """key: empty for an endpoint that asks for none. Raises LlmFailed alone."""

    def __init__(self, name: str, model: str, key: Secret, base_url: str = "") -> None:
        import anthropic

        self._sdk, self._name, self._model, self._key = anthropic, name, model, key
        self._endpoint = (base_url or BASE_URL, model)
        self._client = anthropic.Anthropic(
            api_key=key.reveal() or "none",
            base_url=self._endpoint[0],
            max_retries=0,
            # A redirect would take the key to another host.
            http_client=anthropic.DefaultHttpxClient(follow_redirects=False),
        )

    def complete(self, prompt: Prompt, max_tokens: int, timeout_seconds: float) -> Answer:
        refused: FormRefused | None = None
        for form in _forms.of(self._endpoint):
            try:
                answer = self._ask(prompt, form, max_tokens, timeout_seconds)
            except FormRefused as exc:
                refused = exc
                continue
            _forms.taken(self._endpoint, form)
            return answer
        assert refused is not None
        raise refused

    def close(self) -> None:
        self._client.close()

    def _ask(self, prompt: Prompt, form: Form, max_tokens: int, timeout_seconds: float) -> Answer:
        system = with_schema(prompt.system, prompt.schema) if form == "text" else prompt.system
        parts: list[dict[str, Any]] = [{"type": "text", "text": prompt.text}]
        if prompt.common:
            parts.insert(0, {"type": "text", "text": prompt.common, **(_CACHED if prompt.is_shared else {})})
        timeout = self._sdk.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        request: dict[str, Any] = {
            "system": [{"type": "text", "text": system, **_CACHED}],
            "messages": [{"role": "user", "content": parts}],
            **_typed(form, prompt),
        }
        with told_apart(self._sdk, self._name, self._key, form):
            message = self._client.messages.create(model=self._model, max_tokens=max_tokens, timeout=timeout, **request)
        if not isinstance(message, self._sdk.types.Message) or not isinstance(message.content, list):
            raise LlmBusy(f"{self._name} answered with what is no message", may_have_cost=True)
        return Answer(_text(message), _usage(message), _STOPS.get(message.stop_reason, "end"))


def _typed(form: Form, prompt: Prompt) -> dict[str, Any]:
    if form == "schema":
        return {"output_config": {"format": {"type": "json_schema", "schema": prompt.schema}}}
    if form == "tool":
        tool = {"name": prompt.schema_name, "description": "Gives the answer.", "input_schema": prompt.schema}
        choice = {"type": "tool", "name": prompt.schema_name, "disable_parallel_tool_use": True}
        return {"tools": [tool], "tool_choice": choice}
    return {}


def _text(message: "Message") -> str:
    """The input of the tool that was used, or else all text."""
    for block in message.content:
        if block.type == "tool_use":
            return json.dumps(block.input)
    return "".join(block.text for block in message.content if block.type == "text" and isinstance(block.text, str))


def _usage(message: "Message") -> Usage:
    """Anthropic counts what it read from its cache, and wrote to it, beside the other input."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    fresh, cached, written, output = (counted(getattr(message.usage, name, None)) for name in names)
    return Usage(fresh + cached + written, output, cached, written)
