"""Callers of the API for its tests."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from jobs.models import ApiToken
from jobs.operators.actors import command_actor
from jobs.operators.tokens import create_token

VIEW = "jobs.view_job"


def person(name: str, *permissions: str, **fields: Any) -> Any:
    """A user with these permissions (`app.codename`)."""
    user = get_user_model().objects.create_user(name, **fields)
    user.user_permissions.set(
        Permission.objects.get(content_type__app_label=label, codename=codename)
        for label, codename in (permission.split(".") for permission in permissions)
    )
    return get_user_model().objects.get(pk=user.pk)


def caller(user: Any) -> Client:
    """A program with a token of this user. Errors are answered as in production, not raised."""
    token, text = create_token(command_actor(), user, "test")
    # Else the first request of each minute writes when it was, and tests that count statements count one more.
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now() + timedelta(days=1))
    return Client(raise_request_exception=False, HTTP_AUTHORIZATION=f"Bearer {text}")


def root() -> Client:
    """A program that may do everything."""
    return caller(person("root", is_superuser=True))


def post(client: Client, path: str, body: Any = None, **headers: str) -> Any:
    return client.post(path, body if body is not None else {}, content_type="application/json", headers=headers)


def problem(response: Any, status: int) -> dict[str, Any]:
    """Check that the answer is a well-formed problem of this status, and return it."""
    assert response.status_code == status, (response.status_code, response.content[:500])
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(body)
    assert body["status"] == status
    assert body["detail"]
    return body
