"""Webhook payloads of our own making, with the fields that GitHub documents and we read."""

import hashlib
import hmac
import json
from typing import Any
from uuid import uuid4

from django.test import Client

SECRET = "a webhook secret for tests"


def pull_request_payload(**changes: Any) -> dict[str, Any]:
    """changes: `action`, and fields of `pull_request`."""
    pull = {
        "number": 7,
        "title": "Add a discount",
        "state": "open",
        "draft": False,
        "base": {"sha": "b" * 40},
        "head": {"sha": "a" * 40},
        "changed_files": 2,
        "additions": 10,
        "deletions": 3,
    }
    action = changes.pop("action", "opened")
    return {
        "action": action,
        "number": 7,
        "pull_request": {**pull, **changes},
        "repository": {"id": 1234, "full_name": "acme/shop"},
        "sender": {"login": "ada"},
    }


def sign(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(client: Client, payload: Any, event: str = "pull_request", guid: str | None = None, **options: Any) -> Any:
    """Deliver as GitHub does. payload: bytes as they are, anything else as JSON. options: replace the headers."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {
        "X-Hub-Signature-256": sign(body),
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid or str(uuid4()),
        **options.pop("headers", {}),
    }
    headers = {name: value for name, value in headers.items() if value is not None}
    content_type = options.pop("content_type", "application/json")
    return client.post("/webhooks/github/", body, content_type=content_type, headers=headers, **options)
