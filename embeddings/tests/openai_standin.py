"""A stand-in for POST /v1/embeddings on loopback, held to OpenAI's published schema and limits.

A vector tells of its text, so that a test sees whether answers reach their own texts.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

KEY = "sk-proj-" + "for-tests-0123456789"
MODEL = "text-embedding-3-small"
DIMENSION = 8
MOST_INPUTS, MOST_TOKENS, MOST_TOKENS_PER_INPUT = 2048, 300_000, 8192

#: CreateEmbeddingRequest and CreateEmbeddingResponse of the API's reference, as far as strings and floats go.
REQUEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["input", "model"],
    "properties": {
        "input": {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS, "items": {"type": "string", "minLength": 1}},
        "model": {"type": "string"},
        "encoding_format": {"enum": ["float"]},
        "dimensions": {"type": "integer", "minimum": 1},
        "user": {"type": "string"},
    },
}
RESPONSE = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"const": "list"},
        "model": {"type": "string"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "embedding", "object"],
                "properties": {
                    "object": {"const": "embedding"},
                    "index": {"type": "integer"},
                    "embedding": {"type": "array", "items": {"type": "number"}},
                },
            },
        },
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "total_tokens"],
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers or {}

    def body(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": "error", "param": None, "code": self.code or None}}


@dataclass
class Standin:
    """faults: raised or waited for before the next requests, first to last; alter: changes what is answered."""

    url: str = ""
    key: str = KEY
    requests: list[list[str]] = field(default_factory=list)
    faults: list[Refused | threading.Event] = field(default_factory=list)
    poison: str = ""
    alter: Callable[[dict[str, Any]], Any] | None = None

    def answer(self, body: dict[str, Any], authorization: str) -> bytes:
        self.requests.append(list(body.get("input", [])))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, threading.Event):
            fault.wait(60)
        elif fault is not None:
            raise fault
        if self.key and authorization != f"Bearer {self.key}":
            raise Refused(
                401, f"Incorrect API key provided: {authorization.removeprefix('Bearer ')}.", "invalid_api_key"
            )
        self._check(body)
        answer = _embed(body["input"], body["model"])
        jsonschema.validate(answer, RESPONSE)
        return json.dumps(self.alter(answer) if self.alter else answer).encode()

    def _check(self, body: dict[str, Any]) -> None:
        try:
            jsonschema.validate(body, REQUEST)
        except jsonschema.ValidationError as error:
            raise Refused(400, f"Invalid request: {error.message[:100]}", "invalid_request_error") from None
        if body["model"] != MODEL:
            raise Refused(404, f"The model `{body['model']}` does not exist", "model_not_found")
        counts = [tokens_of(text) for text in body["input"]]
        if max(counts) > MOST_TOKENS_PER_INPUT:
            raise Refused(400, f"This model's maximum context length is 8192 tokens, you requested {max(counts)}")
        if sum(counts) > MOST_TOKENS:
            raise Refused(400, f"Requested {sum(counts)} tokens, max 300000 tokens per request")
        if self.poison and any(self.poison in text for text in body["input"]):
            raise Refused(400, "The input was rejected")


def tokens_of(text: str) -> int:
    """The worst case of a tokenizer that knows every byte: one token a byte."""
    return len(text.encode())


def vector_of(text: str) -> list[float]:
    """Of no particular length."""
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 51 - 2.51 for byte in digest[:DIMENSION]]


def _embed(texts: list[str], model: str) -> dict[str, Any]:
    tokens = sum(tokens_of(text) for text in texts)
    data = [{"object": "embedding", "index": at, "embedding": vector_of(text)} for at, text in enumerate(texts)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


@contextmanager
def serving() -> Iterator[Standin]:
    standin = Standin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                assert self.path == "/v1/embeddings"
                self._send(200, standin.answer(body, self.headers.get("Authorization", "")), {})
            except Refused as refused:
                self._send(refused.status, json.dumps(refused.body()).encode(), refused.headers)

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    standin.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
