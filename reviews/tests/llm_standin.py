"""A stand-in on loopback for POST /v1/messages (Anthropic) and POST /v1/chat/completions (OpenAI).

Requests are held to the part of both references that reviews use, answers carry usage with a cache that knows prefixes.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

KEY = "sk-ant-" + "for-tests-0123456789"
MODEL = "test-model-1"
CACHED_CHARACTERS = 2000

_TEXT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "text"],
    "properties": {
        "type": {"const": "text"},
        "text": {"type": "string", "minLength": 1},
        "cache_control": {"const": {"type": "ephemeral"}},
    },
}
#: Of Anthropic's CreateMessageParams.
MESSAGES = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model", "max_tokens", "messages"],
    "properties": {
        "model": {"type": "string"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "system": {"type": "array", "items": _TEXT},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "array", "items": _TEXT}},
            },
        },
        "output_config": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "format": {"required": ["type", "schema"], "properties": {"type": {"const": "json_schema"}}}
            },
        },
        "tools": {"type": "array", "items": {"required": ["name", "input_schema"]}},
        "tool_choice": {"required": ["type", "name"], "properties": {"type": {"const": "tool"}}},
    },
}
#: Of OpenAI's CreateChatCompletionRequest.
COMPLETIONS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "max_completion_tokens": {"type": "integer", "minimum": 1},
        "max_tokens": {"type": "integer", "minimum": 1},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["role", "content"],
                "properties": {"role": {"enum": ["system", "user"]}, "content": {"type": "string", "minLength": 1}},
            },
        },
        "response_format": {"required": ["type"], "properties": {"type": {"enum": ["json_schema", "json_object"]}}},
        "tools": {"type": "array", "items": {"required": ["type", "function"]}},
        "tool_choice": {"required": ["type", "function"]},
    },
}
_KNOWN_KEYWORDS = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs",
    "description",
}  # fmt: skip


@dataclass
class Fault:
    """An answer that is an error; or, without a status, a body that is none."""

    status: int
    message: str = "overloaded"
    headers: dict[str, str] = field(default_factory=dict)
    code: str = ""
    body: bytes | None = None


@dataclass
class Cut:
    """An answer that ends before its end."""

    text: str = '{"summary": "cut", "find'


@dataclass
class Refusal:
    pass


@dataclass
class Asked:
    """One request as it came in. text: system and user's parts together; form: how an answer was asked for."""

    api: str
    body: dict[str, Any]
    headers: dict[str, str]
    system: str
    text: str
    form: str


Scripted = dict[str, Any] | str | Fault | Cut | Refusal | Callable[[Asked], Any]


@dataclass
class LlmStandin:
    """script: what the next requests are answered with, first to last. otherwise: for all others.

    refuses: parameters that this endpoint does not know. usage: whether it tells any.
    """

    url: str = ""
    key: str = KEY
    script: list[Scripted] = field(default_factory=list)
    otherwise: Callable[[Asked], Any] = lambda asked: {"summary": "Changes things.", "findings": []}
    refuses: set[str] = field(default_factory=set)
    usage: bool = True
    requests: list[Asked] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _prefixes: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        """The body of the answer, or a Fault."""
        api = "anthropic" if path == "/v1/messages" else "openai" if path == "/v1/chat/completions" else ""
        problem = self._problem(api, body, headers)
        if problem is not None:
            self.refused.append(problem.message)
            return problem
        asked = _asked(api, body, headers)
        with self._lock:
            self.requests.append(asked)
            said = self.script.pop(0) if self.script else self.otherwise(asked)
        if callable(said):
            said = said(asked)
        if isinstance(said, Fault):
            return said
        make = _message if api == "anthropic" else _completion
        return make(asked, said, self._cached(asked), self.usage)

    def _problem(self, api: str, body: dict[str, Any], headers: dict[str, str]) -> Fault | None:
        if not api:
            return Fault(404, "not found")
        bearer = headers.get("authorization", "")[len("Bearer ") :]
        given = headers.get("x-api-key", bearer) if api == "anthropic" else bearer
        if self.key and given != self.key:
            return Fault(401, f"invalid x-api-key: {given}")
        for name in sorted(self.refuses & set(body)):
            return Fault(400, f"{name}: this parameter is not supported for this model")
        try:
            jsonschema.validate(body, MESSAGES if api == "anthropic" else COMPLETIONS)
            _check_schema(_schema_of(body))
        except (jsonschema.ValidationError, AssertionError) as error:
            return Fault(400, f"invalid request: {str(error)[:200]}")
        return Fault(404, f"model: {body['model']}") if body["model"] != MODEL else None

    def _cached(self, asked: Asked) -> tuple[int, int]:
        """Characters of the request that the cache knows, and that it keeps from now on."""
        whole = asked.system + asked.text
        with self._lock:
            known = max((len(prefix) for prefix in self._prefixes if whole.startswith(prefix)), default=0)
            ends = _breakpoints(asked) if asked.api == "anthropic" else range(CACHED_CHARACTERS, len(whole), 500)
            new = {whole[:end] for end in ends if end >= CACHED_CHARACTERS} - self._prefixes
            self._prefixes |= new
        return known, max(0, max((len(prefix) for prefix in new), default=0) - known)


def _check_schema(node: Any) -> None:
    """What both providers ask of a schema that they enforce."""
    if isinstance(node, list):
        for item in node:
            _check_schema(item)
    if not isinstance(node, dict):
        return
    assert set(node) <= _KNOWN_KEYWORDS, f"schema: unknown keywords {sorted(set(node) - _KNOWN_KEYWORDS)}"
    if node.get("type") == "object":
        assert node["additionalProperties"] is False, "schema: additionalProperties must be false"
        assert node["required"] == list(node["properties"]), "schema: all properties must be required"
    for key in ("properties", "$defs"):
        for value in node.get(key, {}).values():
            _check_schema(value)
    _check_schema(node.get("items"))
    _check_schema(node.get("anyOf"))


def _schema_of(body: dict[str, Any]) -> Any:
    if "output_config" in body:
        return body["output_config"]["format"]["schema"]
    if "json_schema" in body.get("response_format", {}):
        return body["response_format"]["json_schema"]["schema"]
    for tool in body.get("tools", ()):
        return tool.get("input_schema") or tool["function"]["parameters"]
    return None


def _asked(api: str, body: dict[str, Any], headers: dict[str, str]) -> Asked:
    form = "tool" if "tools" in body else "schema" if _schema_of(body) else "text"
    if api == "anthropic":
        system = "".join(block["text"] for block in body["system"])
        return Asked(api, body, headers, system, "".join(b["text"] for b in body["messages"][0]["content"]), form)
    system, text = (message["content"] for message in body["messages"])
    return Asked(api, body, headers, system, text, form)


def _breakpoints(asked: Asked) -> list[int]:
    ends, length = [], 0
    for block in [*asked.body["system"], *asked.body["messages"][0]["content"]]:
        length += len(block["text"])
        if "cache_control" in block:
            ends.append(length)
    return ends


def _tokens(characters: int) -> int:
    return characters // 4


def _message(asked: Asked, said: Any, cached: tuple[int, int], usage: bool) -> dict[str, Any]:
    text = said.text if isinstance(said, Cut) else said if isinstance(said, str) else json.dumps(said, default=str)
    block: dict[str, Any] = {"type": "text", "text": text}
    if asked.form == "tool" and isinstance(said, dict):
        block = {"type": "tool_use", "id": "toolu_1", "name": asked.body["tools"][0]["name"], "input": said}
    stop = "max_tokens" if isinstance(said, Cut) else "refusal" if isinstance(said, Refusal) else "end_turn"
    whole = len(asked.system) + len(asked.text)
    counted = {
        "input_tokens": _tokens(whole - sum(cached)),
        "cache_read_input_tokens": _tokens(cached[0]),
        "cache_creation_input_tokens": _tokens(cached[1]),
        "output_tokens": _tokens(len(text)),
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": [] if isinstance(said, Refusal) else [block],
        "stop_reason": "tool_use" if block["type"] == "tool_use" else stop,
        "stop_sequence": None,
        "usage": counted if usage else {"input_tokens": 0, "output_tokens": 0},
    }


def _completion(asked: Asked, said: Any, cached: tuple[int, int], usage: bool) -> dict[str, Any]:
    text = said.text if isinstance(said, Cut) else said if isinstance(said, str) else json.dumps(said, default=str)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if isinstance(said, Refusal):
        message |= {"content": None, "refusal": "I cannot help with that."}
    if asked.form == "tool" and isinstance(said, dict):
        function = {"name": asked.body["tools"][0]["function"]["name"], "arguments": text}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    tokens, answered = _tokens(len(asked.system) + len(asked.text)), _tokens(len(text))
    counted = {
        "prompt_tokens": tokens,
        "completion_tokens": answered,
        "total_tokens": tokens + answered,
        "prompt_tokens_details": {"cached_tokens": _tokens(cached[0]), "cache_write_tokens": _tokens(cached[1])},
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "length" if isinstance(said, Cut) else "stop"}],
        **({"usage": counted} if usage else {}),
    }


@contextmanager
def serving() -> Iterator[LlmStandin]:
    standin = LlmStandin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with standin._lock:
                standin.at_once += 1
                standin.most_at_once = max(standin.most_at_once, standin.at_once)
            try:
                said = standin.answer(self.path, body, headers)
            finally:
                with standin._lock:
                    standin.at_once -= 1
            if isinstance(said, Fault):
                error = {"message": said.message, "type": "error", "code": said.code or None, "param": None}
                whole = {"type": "error", "error": error}
                self._send(said.status, json.dumps(whole).encode() if said.body is None else said.body, said.headers)
            else:
                self._send(200, json.dumps(said).encode(), {})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            try:
                self.send_response_only(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # nobody waits any more

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    standin.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
