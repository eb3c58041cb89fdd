"""OpenAI's Chat Completions API by its own SDK; vLLM, Ollama and others speak it too.

Source: https://platform.openai.com/docs/api-reference/chat, "Structured outputs" and "Prompt caching" there.
"""

from typing import TYPE_CHECKING, Any

from jobs.secrets import Secret
from reviews.llm.client import CONNECT_SECONDS, Answer, Form, Forms, Prompt, Stop, Usage, counted, with_schema
from reviews.llm.errors import FormRefused, LlmBusy
from reviews.llm.failures import told_apart

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

BASE_URL = "https://api.openai.com/v1"
_STOPS: dict[str | None, Stop] = {"length": "cut", "content_filter": "refused"}
_forms = Forms()
# OpenAI's newer models take only the first, older servers only the second.
_LIMITS = ("max_completion_tokens", "max_tokens")
_limits: dict[tuple[str, str], str] = {}


class OpenAIClient:
    """key: empty for an endpoint that asks for none. Raises LlmFailed alone."""

    def __init__(self, name: str, model: str, key: Secret, base_url: str = "") -> None:
        import openai

        self._sdk, self._name, self._model, self._key = openai, name, model, key
        self._endpoint = (base_url or BASE_URL, model)
        self._client = openai.OpenAI(
            api_key=key.reveal() or "none",
            base_url=self._endpoint[0],
            max_retries=0,
            # A redirect would take the request to another host.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    def complete(self, prompt: Prompt, max_tokens: int, timeout_seconds: float) -> Answer:
        refused: FormRefused | None = None
        for form in _forms.of(self._endpoint):
            for limit in self._limits():
                try:
                    answer = self._ask(prompt, form, {limit: max_tokens}, timeout_seconds)
                except FormRefused as exc:
                    refused = exc
                    if limit in str(exc):
                        continue
                    break
                _forms.taken(self._endpoint, form)
                _limits[self._endpoint] = limit
                return answer
        assert refused is not None
        raise refused

    def close(self) -> None:
        self._client.close()

    def _limits(self) -> tuple[str, ...]:
        known = _limits.get(self._endpoint)
        return (known,) if known else _LIMITS

    def _ask(self, prompt: Prompt, form: Form, limit: dict[str, int], timeout_seconds: float) -> Answer:
        system = with_schema(prompt.system, prompt.schema) if form == "text" else prompt.system
        text = f"{prompt.common}\n\n{prompt.text}" if prompt.common else prompt.text
        timeout = self._sdk.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        request: dict[str, Any] = {
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
            **limit,
            **_typed(form, prompt),
        }
        with told_apart(self._sdk, self._name, self._key, form):
            completion = self._client.chat.completions.create(model=self._model, timeout=timeout, **request)
        choices = getattr(completion, "choices", None)
        if not isinstance(choices, list) or not choices or getattr(choices[0], "message", None) is None:
            raise LlmBusy(f"{self._name} answered with what is no completion", may_have_cost=True)
        return Answer(_text(completion), _usage(completion), _stop(completion))


def _typed(form: Form, prompt: Prompt) -> dict[str, Any]:
    if form == "schema":
        schema = {"name": prompt.schema_name, "strict": True, "schema": prompt.schema}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if form == "tool":
        function = {"name": prompt.schema_name, "description": "Gives the answer.", "parameters": prompt.schema}
        choice = {"type": "function", "function": {"name": prompt.schema_name}}
        return {"tools": [{"type": "function", "function": function}], "tool_choice": choice}
    return {"response_format": {"type": "json_object"}}


def _text(completion: "ChatCompletion") -> str:
    message = completion.choices[0].message
    for call in message.tool_calls or ():
        if call.type == "function":
            return str(call.function.arguments)
    return message.content if isinstance(message.content, str) else ""


def _stop(completion: "ChatCompletion") -> Stop:
    choice = completion.choices[0]
    return "refused" if getattr(choice.message, "refusal", None) else _STOPS.get(choice.finish_reason, "end")


def _usage(completion: "ChatCompletion") -> Usage:
    """OpenAI counts what it read from its cache within the input. A server that tells no usage: zeros."""
    usage = completion.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        counted(getattr(usage, "prompt_tokens", None)),
        counted(getattr(usage, "completion_tokens", None)),
        counted(getattr(details, "cached_tokens", None)),
        counted(getattr(details, "cache_write_tokens", None)),
    )
