"""Errors as RFC 9457 problem details, for every answer under /api/ that is not a success."""

import http
import logging
import math
import sys
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from jobs.ledger.errors import JobRefused
from jobs.models import Alert, ApiToken, Effect, Job
from jobs.operators.alerts import AlertRefused
from jobs.operators.effects import EffectNotChanged
from jobs.operators.idempotency import KeyInUse, KeyUsedForAnother
from jobs.operators.jobs import JobNotChanged
from jobs.operators.limits import LimitRefused, UnknownScope
from jobs.operators.schedules import ScheduleNotFound
from jobs.operators.timetables import ScheduleRefused
from jobs.operators.tokens import TokenRefused
from jobs.registry import ArgumentsDoNotFit, UnknownTask
from jobs.schedules.calls import ScheduleUnusable
from jobs.unique_options import NAMES as KEY_OPTIONS

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
AWAY_SECONDS = 5

#: What services raise: the status, a word for programs, and the part of the body that it is about.
_MEANINGS: list[tuple[type[Exception], int, str, str]] = [
    (UnknownTask, 400, "unknown-task", "#/task"),
    (ArgumentsDoNotFit, 400, "arguments-do-not-fit", "#/args"),
    (JobRefused, 400, "job-refused", ""),  # see _part_of
    (TokenRefused, 400, "token-refused", ""),
    (LimitRefused, 400, "limit-refused", ""),
    (AlertRefused, 400, "alert-refused", ""),
    (Alert.DoesNotExist, 404, "not-found", ""),
    (UnknownScope, 404, "not-found", ""),
    (Job.DoesNotExist, 404, "not-found", ""),
    (Effect.DoesNotExist, 404, "not-found", ""),
    (ApiToken.DoesNotExist, 404, "not-found", ""),
    (ScheduleNotFound, 404, "not-found", ""),
    (JobNotChanged, 409, "job-not-changed", ""),
    (EffectNotChanged, 409, "effect-not-changed", ""),
    (ScheduleUnusable, 409, "schedule-unusable", ""),
    (KeyInUse, 409, "idempotency-key-in-use", ""),
    (KeyUsedForAnother, 422, "idempotency-key-used-for-another-request", ""),
    (PermissionDenied, 403, "permission-denied", ""),
    # A value that no column can hold and that nothing refused before: the caller's, not ours.
    (DataError, 400, "value-out-of-range", ""),
]


def add_meaning(kind: type[Exception], code: int, word: str, pointer: str = "") -> None:
    """Say how an error that another app's services raise is answered: with its message as the detail.

    If it has a `retry_after`, in seconds, the answer says so.
    """
    if all(kind is not known for known, *_ in _MEANINGS):
        _MEANINGS.append((kind, code, word, pointer))


def problem_details(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. None, for what nobody foresaw, leads to `server_error`."""
    request = context.get("request")
    instance = request.path if request is not None else ""
    set_rollback()
    if isinstance(exc, OperationalError | InterfaceError):
        logger.warning("Postgres did not answer: %s", " ".join(str(exc).split())[:200])
        return _response(problem(503, "database-away", _AWAY, instance), {"Retry-After": str(AWAY_SECONDS)})
    for kind, code, word, pointer in _MEANINGS:
        if isinstance(exc, kind):
            detail = "A value is out of range." if kind is DataError else _sentence(exc)
            part = pointer or _part_of(exc)
            errors = [{"pointer": part, "detail": detail}] if part else None
            wait = 1 if kind is KeyInUse else math.ceil(getattr(exc, "retry_after", 0))
            headers = {"Retry-After": str(wait)} if wait else {}
            return _response(problem(code, word, detail, instance, errors), headers)
    if isinstance(exc, ScheduleRefused):
        return _response(_refused(exc, instance), {})
    if isinstance(exc, Http404):
        exc = exceptions.NotFound("There is nothing here.")
    if not isinstance(exc, exceptions.APIException):
        return None
    return _of_drf(exc, instance)


def _part_of(exc: Exception) -> str:
    """The part of the body that the ledger's refusal is about, if its message begins with it."""
    if isinstance(exc, LimitRefused | AlertRefused):
        return f"#/{str(exc).partition(' ')[0]}"
    parts = ("queue", "priority", "run_at", "unique_key", "args", *KEY_OPTIONS)
    named = str(exc).removeprefix("unknown ").replace("the arguments of", "args", 1).partition(" ")[0]
    return f"#/{named}" if isinstance(exc, JobRefused) and named in parts else ""


def _of_drf(exc: exceptions.APIException, instance: str) -> Response:
    headers = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header  # type: ignore[attr-defined]
    wait = getattr(exc, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(int(wait))
    if isinstance(exc, exceptions.ValidationError):
        errors = _errors(exc.detail, "#")
        first = "; ".join(f"{error['pointer'].removeprefix('#/')}: {error['detail']}" for error in errors[:3])
        return _response(problem(400, "invalid-request", first, instance, errors), headers)
    code = exc.default_code.replace("_", "-")
    return _response(problem(exc.status_code, code, str(exc.detail), instance), headers)


def _refused(exc: ScheduleRefused, instance: str) -> dict[str, Any]:
    errors = [
        {"pointer": f"#/{name[:100].replace('.', '/')}" if name else "#", "detail": text}
        for name, text in exc.errors.items()
    ]
    return problem(400, "invalid-request", _sentence(exc), instance, errors)


def _errors(detail: Any, pointer: str) -> list[dict[str, str]]:
    """Flatten DRF's tree of messages: JSON pointers into the body, or the name of a query parameter."""
    if isinstance(detail, dict):
        found = []
        for key, value in detail.items():
            own = key == "non_field_errors"
            step = str(key).replace("~", "~0").replace("/", "~1")[:100]
            found += _errors(value, pointer if own else f"{pointer}/{step}")
        return found
    if isinstance(detail, list):
        return [error for item in detail for error in _errors(item, pointer)]
    return [{"pointer": pointer, "detail": str(detail)}]


def problem(
    code: int, word: str, detail: str, instance: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    body = {
        "type": f"urn:switchyard:problem:{word}",
        "title": http.HTTPStatus(code).phrase,
        "status": code,
        "detail": detail,
        "instance": instance,
    }
    return body if errors is None else {**body, "errors": errors}


def _response(body: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(body, status=body["status"], headers=headers, content_type=MEDIA_TYPE)


def _sentence(exc: Exception) -> str:
    text = str(exc) or "The request was refused."
    return text[:2000]


# --- Django's own handlers (config.urls), for what never reaches a view of the API ------------------------------------

_AWAY = "The database does not answer; nothing was changed. Try again in a few seconds."


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return _plain(request, 413, "body-too-large", "The body is too large.")
    detail = "The request was refused." if isinstance(exception, SuspiciousOperation) else "The request is malformed."
    return _plain(request, 400, "bad-request", detail)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return _plain(request, 403, "permission-denied", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return _plain(request, 404, "not-found", f"There is nothing at {request.path[:200]}; see /api/v1/schema/.")


def server_error(request: HttpRequest) -> HttpResponse:
    """503 while Postgres is away, also for pages and for middleware that needs it; else 500, telling nothing."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return _away(request)
    if not _is_api(request):
        return defaults.server_error(request)
    return _plain(request, 500, "internal-error", "Something failed here; the log has the details.")


def _away(request: HttpRequest) -> HttpResponse:
    if _is_api(request):
        response: HttpResponse = _plain(request, 503, "database-away", _AWAY)
    else:
        response = HttpResponse(_AWAY, status=status.HTTP_503_SERVICE_UNAVAILABLE, content_type="text/plain")
    response["Retry-After"] = str(AWAY_SECONDS)
    return response


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _plain(request: HttpRequest, code: int, word: str, detail: str) -> JsonResponse:
    return JsonResponse(problem(code, word, detail, request.path), status=code, content_type=MEDIA_TYPE)
