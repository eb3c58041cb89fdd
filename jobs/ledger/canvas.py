"""Celery's signatures as the ledger keeps them: trees of JSON, with an id for every step before it is sent."""

import functools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from django.db import transaction

from jobs.ledger.run import current_run

Signature = dict[str, Any]

_NAMESPACE = uuid.UUID("6f0b5c0e-5d0c-4e0b-9a35-2b1a6d0c8a11")


def derived_id(*parts: object) -> str:
    """The id of what is sent at this position; the same whenever it is asked for."""
    return str(uuid.uuid5(_NAMESPACE, "\x00".join(str(part) for part in parts)))


def with_ids(signatures: Any, *position: object) -> list[Any]:
    """Copies of callbacks or errbacks in which each step that has no id yet has the one of its position.

    Celery would give them new ids whenever their parent ends, so one that ends again after a crash would send them
    twice.
    """
    found = signatures if isinstance(signatures, list | tuple) else [signatures]
    return [_with_id(signature, (*position, index)) for index, signature in enumerate(found) if signature]


def _with_id(signature: Any, position: tuple[object, ...]) -> Any:
    if not isinstance(signature, dict) or "task" not in signature:
        return signature
    copy = dict(signature)
    kind = copy.get("subtask_type")
    kwargs = dict(copy.get("kwargs") or {})
    if kind in ("group", "chain"):
        kwargs["tasks"] = with_ids(kwargs.get("tasks") or [], *position, kind)
    elif kind == "chord":
        header = kwargs.get("header")
        is_group = isinstance(header, dict)
        kwargs["header"] = (
            _with_id(header, (*position, "header")) if is_group else with_ids(header or [], *position, "header")
        )
        kwargs["body"] = _with_id(kwargs.get("body"), (*position, "body"))
    copy["kwargs"] = kwargs
    if kind in (None, "group"):
        options = dict(copy.get("options") or {})
        options.setdefault("task_id", derived_id(*position))
        copy["options"] = options
    return copy


def parts_of(signature: Any) -> list[Any]:
    """The signatures directly inside a chain, group or chord (header first, then body); empty for a plain task."""
    kwargs = (signature.get("kwargs") if isinstance(signature, dict) else None) or {}
    kind = signature.get("subtask_type") if isinstance(signature, dict) else None
    if kind in ("group", "chain"):
        return list(kwargs.get("tasks") or [])
    if kind == "chord":
        header = kwargs.get("header")
        return [*(parts_of(header) if isinstance(header, dict) else header or []), kwargs.get("body")]
    return []


def id_of(signature: Any) -> str | None:
    """The id that a signature's job, or group, will have, if it has been given one."""
    found = (signature.get("options") or {}).get("task_id") if isinstance(signature, dict) else None
    return None if found is None else str(found)


def ids_in(signature: Any) -> Iterator[str]:
    """Every id in a tree, of jobs and groups."""
    found = id_of(signature)
    if found is not None:
        yield found
    for part in parts_of(signature):
        yield from ids_in(part)


def chain_of(embed: dict[str, Any]) -> list[Any]:
    """The steps that follow a job, the next one first."""
    return list(reversed(embed.get("chain") or []))


def result_ids(result: Any) -> Any:
    """The ids of what a frozen result stands for, nested as its value will be."""
    children = getattr(result, "results", None)
    return str(result.id) if children is None else [result_ids(child) for child in children]


def result_steps(result: Any) -> Iterator[str]:
    """The id of a frozen result, and of all that leads to it."""
    waiting, seen = [result], set()
    while waiting:
        found = waiting.pop()
        if found is None or found.id in seen:
            continue
        seen.add(found.id)
        yield str(found.id)
        waiting.append(found.parent)
        waiting.extend(getattr(found, "results", None) or [])


def flat(nested: Any) -> list[str]:
    """The ids in nested lists, in their order."""
    if isinstance(nested, list):
        return [found for item in nested for found in flat(item)]
    return [nested]


def _in_one_transaction(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def sending(*args: Any, **kwargs: Any) -> Any:
        run = current_run()
        if run is not None and run.body_done:
            return send(*args, **kwargs)  # held, and inserted with the run's finish
        with transaction.atomic():
            return send(*args, **kwargs)

    sending.is_atomic = True  # type: ignore[attr-defined]
    return sending


def send_whole() -> None:
    """Have Celery send a group or a chord in one transaction.

    It sends one member after the other: a process that dies in between would leave a chord that waits for members
    who never come.
    """
    from celery import canvas

    for kind, method in ((canvas.group, "apply_async"), (canvas._chord, "run")):
        if not hasattr(getattr(kind, method), "is_atomic"):
            setattr(kind, method, _in_one_transaction(getattr(kind, method)))
