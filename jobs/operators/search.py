"""Finding jobs: by id, and by what a person types into a search box."""

import json
from datetime import datetime
from typing import Any

from django.db.models import F, Func, JSONField, Q, QuerySet, Value
from django.db.models.fields import BooleanField

from jobs.models import Job
from jobs.registry import registered_tasks

#: No index serves a search in arguments, so it looks at no more rows than this.
NEWEST = 100_000
#: And no more ids than this are looked at for one prefix, which has so many characters: a shorter one is rather an
#: argument, and would hit ids by chance.
MOST_IDS = 1_000
LEAST_PREFIX = 8
MAX_TEXT = 500


def find_job(job_id: str) -> Job:
    """Raises Job.DoesNotExist for an unknown id, whatever characters it has."""
    if is_storable(job_id) and len(job_id) <= 255:
        found = Job.objects.filter(pk=job_id).first()
        if found is not None:
            return found
    raise Job.DoesNotExist(f"no job {job_id[:255]!r}")


def is_storable(text: str) -> bool:
    """Whether Postgres can hold it: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def search_jobs(queryset: QuerySet[Job], text: str) -> QuerySet[Job]:
    """Jobs of that id, or whose id begins with the text (8 characters or more), else those of a task, else those with
    such an argument.

    A task is told by the beginning of its name or of a part of it (`clean` finds `jobs.clean_up`). `key:value` looks
    at that argument alone, passed by name or by position. Arguments are searched in the newest 100,000 jobs only, for
    the whole value: a number, a word, or JSON.
    """
    text = text.strip()[:MAX_TEXT]
    if not text:
        return queryset
    if not is_storable(text):
        return queryset.none()
    wanted_ids = Q(pk__startswith=text) if len(text) >= LEAST_PREFIX else Q(pk=text)
    ids = list(Job.objects.filter(wanted_ids).order_by("pk").values_list("pk", flat=True)[:MOST_IDS])
    if ids:
        return queryset.filter(pk__in=ids)
    tasks = [task.name for task in registered_tasks() if f".{task.name}".find(f".{text}") >= 0]
    if tasks or Job.objects.filter(task=text).exists():
        return queryset.filter(task__in=[*tasks, text])
    key, colon, value = text.partition(":")
    if colon and key.isidentifier() and value.strip():
        return newest(queryset).filter(_any(_has_named(key, wanted) for wanted in _values(value.strip())))
    return newest(queryset).filter(_any(_has_argument(wanted) for wanted in _values(text)))


def _has_named(key: str, wanted: Any) -> Q:
    condition = Q(kwargs__contains={key: wanted})
    for task in registered_tasks():
        names = [parameter["name"] for parameter in task.parameters]
        if key in names:
            condition |= Q(task=task.name, **{f"args__{names.index(key)}": wanted})
    return condition


def newest(queryset: QuerySet[Job]) -> QuerySet[Job]:
    """Only the newest 100,000 jobs, which an index finds."""
    times = Job.objects.order_by("-created_at", "-id").values_list("created_at", flat=True)
    oldest: datetime | None = next(iter(times[NEWEST : NEWEST + 1]), None)
    return queryset if oldest is None else queryset.filter(created_at__gt=oldest)


class _JsonPathExists(Func):
    function = "jsonb_path_exists"
    output_field = BooleanField()


def _has_argument(wanted: Any) -> Q:
    if isinstance(wanted, list | dict):
        return Q(args__contains=[wanted])
    variables = Value({"wanted": wanted}, output_field=JSONField())
    named = _JsonPathExists(F("kwargs"), Value("$.* ? (@ == $wanted)"), variables)
    return Q(args__contains=[wanted]) | Q(named)


def _any(conditions: Any) -> Q:
    joined = Q()
    for condition in conditions:
        joined |= condition
    return joined


def _values(text: str) -> list[Any]:
    """What was typed as a string and, where it is JSON, as that."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return [text[1:-1]]
    try:
        value = json.loads(text, parse_constant=lambda _: text)
    except (ValueError, RecursionError):
        return [text]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return [text]
    return [text] if isinstance(value, str) else [value, text]
