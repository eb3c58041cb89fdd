"""A Celery message on its way into the ledger, and back out of it."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kombu.utils.json import dumps as kombu_dumps

from jobs.lanes import QUEUES
from jobs.ledger.canvas import with_ids
from jobs.ledger.errors import JobRefused
from jobs.ledger.run import current_run
from jobs.registry import NO_POLICY, policy_of
from jobs.unique_options import UniqueOptions, options_from

#: Marks a message as one whose row exists; without it a message is a foreign client's.
LEDGER_HEADER = "ledger"
MAX_DELAY = timedelta(days=3660)
MAX_ARGUMENT_BYTES = 1_000_000
#: A chain or chord rides along with each of its steps.
MAX_CANVAS_BYTES = 16_000_000

# Derived again from the row whenever the message is built, or kept in columns of their own.
_IN_COLUMNS = frozenset(
    [
        "lang",
        "task",
        "id",
        "eta",
        "expires",
        "group",
        "root_id",
        "parent_id",
        "retries",
        "argsrepr",
        "kwargsrepr",
        "delay_seconds",
        "unique_key",
        "unique_options",
        "limit_key",
        "attempts_before",
        "edited",
        "parked",
    ]
)


@dataclass
class Record:
    """One row to insert. Times are ISO 8601; `delay_seconds` counts from Postgres' clock."""

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]
    headers: dict[str, Any]
    queue: str
    priority: int
    max_attempts: int
    origin: str
    origin_detail: str = ""
    unique_key: str | None = None
    unique_options: UniqueOptions | None = None
    limit_key: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    run_at: str | None = None
    delay_seconds: float | None = None
    expires_at: str | None = None

    def as_row(self) -> dict[str, Any]:
        row = dict(vars(self))  # not asdict: it copies all arguments, which is a sixth of a send
        if self.unique_options is not None:
            row["unique_options"] = self.unique_options.as_row()
        return row

    def drop_key(self) -> None:
        """Fold it into no other job: somebody waits for this very one."""
        self.unique_key = self.unique_options = None

    @property
    def is_workflow_step(self) -> bool:
        """Whether others wait for this very job: a group's result, a chord, a chain or a callback."""
        return self.group_id is not None or any(self.embed.get(part) for part in ("callbacks", "chain", "chord"))


@dataclass
class Message:
    """What `AMQP.send_task_message` was given, before it became a record."""

    task: str
    headers: dict[str, Any]
    body: tuple[Any, Any, Any]
    queue: str
    priority: int | None = None


def record_of(message: Message, *, origin: str, origin_detail: str = "") -> Record:
    """Check a message and turn it into a row.

    Raises JobRefused if the arguments are not JSON or too large, the time to run is absurd, or an id is none.
    """
    headers = message.headers
    job_id = checked_id(headers["id"])
    args, kwargs, embed = message.body
    args, kwargs = plain_arguments(message.task, args, kwargs, most_bytes=_most_bytes())
    embed = _plain(embed or {}, message.task, MAX_CANVAS_BYTES)
    policy = policy_of(message.task)
    key, options = _key_and_options(headers, message.task, args, kwargs)
    record = Record(
        id=job_id,
        task=message.task,
        args=args,
        kwargs=kwargs,
        embed={
            # Derived ids: a job that ends again after a crash sends nothing on twice.
            key: with_ids(value, job_id, key) if key == "callbacks" else value
            for key, value in embed.items()
            if value
        },
        headers={
            k: v
            for k, v in _plain(headers, message.task, MAX_ARGUMENT_BYTES).items()
            if k not in _IN_COLUMNS and v not in (None, [], {})
        },
        queue=message.queue,
        priority=QUEUES[message.queue].clamp(message.priority),
        max_attempts=policy.max_attempts,
        origin=origin,
        origin_detail=clean_text(origin_detail)[:255],
        unique_key=key,
        unique_options=options,
        limit_key=limit_key(headers, message.task, args, kwargs),
        parent_id=checked_id(headers["parent_id"]) if headers.get("parent_id") else None,
        root_id=checked_id(headers.get("root_id") or job_id),
        group_id=checked_id(headers["group"]) if headers.get("group") else None,
        run_at=_checked_time(headers.get("eta"), "eta", message.task),
        delay_seconds=_checked_delay(headers.get("delay_seconds"), message.task),
        expires_at=_checked_time(headers.get("expires"), "expires", message.task),
    )
    if record.is_workflow_step:
        # Folded, it would leave its chain or chord waiting for a job that never comes.
        record.drop_key()
    return record


def checked_id(value: Any) -> str:
    """A job's, root's or group's id. Raises JobRefused unless it is 1 to 255 characters that Postgres can hold."""
    text = "" if value is None else str(value)
    if not 0 < len(text) <= 255 or _is_odd(text):
        raise JobRefused(
            f"{text[:60]!r} is not an id: it has {len(text)} characters; 1 to 255 are kept, none of them NUL"
        )
    return text


def clean_text(text: str) -> str:
    """Text as Postgres can hold it: neither NUL nor half of a surrogate pair."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode() if _is_odd(text) else text


def clean_json(value: Any) -> Any:
    """The same for every string in a JSON value."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): clean_json(item) for key, item in value.items()}
    return value


def unique_key(task: str, args: list[Any], kwargs: dict[str, Any]) -> str | None:
    """The key of a job with these arguments, or None.

    Raises JobRefused if the task's `unique` function fails on them or its key is longer than 255 characters.
    """
    policy = policy_of(task)
    if policy is NO_POLICY or policy.unique is None:
        return None
    try:
        key = policy.unique(*args, **kwargs)
    except Exception as exc:
        raise JobRefused(f"the unique key of {task} cannot be made from these arguments: {exc}") from exc
    return _checked_key(key, task)


def limit_key(headers: dict[str, Any], task: str, args: list[Any], kwargs: dict[str, Any]) -> str | None:
    """What limits per key count a job under: the sender's key, or else the task's. None and "" are no key.

    Raises JobRefused if the task's `limit_key` function fails or a key is longer than 255 characters.
    """
    key, function = headers.get("limit_key"), policy_of(task).limit_key
    if key is None and function is not None:
        try:
            key = function(*args, **kwargs)
        except Exception as exc:
            raise JobRefused(f"the limit key of {task} cannot be made from these arguments: {exc}") from exc
    text = clean_text(str(key)) if key is not None else ""
    if len(text) > 255:
        raise JobRefused(f"the limit key of {task} has {len(text)} characters; at most 255 are kept: {text[:60]}…")
    return text or None


def _key_and_options(
    headers: dict[str, Any], task: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[str | None, UniqueOptions | None]:
    """The sender's key and options, or else the task's. Raises JobRefused for what they cannot be."""
    key = _checked_key(headers.get("unique_key"), task)
    given = headers.get("unique_options")
    if given and key is None:
        # The task's own key follows the task's own rules, on which its author relies.
        raise JobRefused(f"unique_key is missing: {', '.join(map(str, given))} of {task} go with a key of the sender's")
    key = key or unique_key(task, args, kwargs)
    if key is None:
        return None, None
    try:
        return key, options_from(given) if given else policy_of(task).unique_options
    except ValueError as exc:
        raise JobRefused(str(exc)) from None


def _checked_key(key: Any, task: str) -> str | None:
    if key is None:
        return None
    text = clean_text(str(key))
    if len(text) > 255:
        raise JobRefused(f"the unique key of {task} has {len(text)} characters; at most 255 are kept: {text[:60]}…")
    return text


def plain_arguments(
    task: str, args: Any, kwargs: Any, *, most_bytes: int | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as the ledger keeps them. Raises JobRefused if they are not JSON or too large."""
    plain_args, plain_kwargs = _plain((args, kwargs), task, most_bytes or MAX_ARGUMENT_BYTES)
    return plain_args, plain_kwargs


def _most_bytes() -> int:
    """What follows a job takes results, a chord's body those of all its members."""
    run = current_run()
    return MAX_CANVAS_BYTES if run is not None and run.body_done else MAX_ARGUMENT_BYTES


def plain_canvas(signature: Any) -> Any:
    """A Celery signature as JSON. Raises JobRefused if it is none, or too large."""
    return _plain(signature, str(signature.get("task")), MAX_CANVAS_BYTES)


def _plain(value: Any, task: str, most_bytes: int) -> Any:
    """Turn a value into what JSON and Postgres can hold: Celery's own types by its encoder, no NUL, no NaN."""
    try:
        text = kombu_dumps(value)
    except Exception as exc:
        raise JobRefused(f"the arguments of {task} are not JSON: {exc}; send an id or plain values instead") from exc
    if len(text) > most_bytes:
        raise JobRefused(
            f"the arguments of {task} take {len(text):,} bytes; at most {most_bytes:,} are kept: send an id instead"
        )
    try:
        return _clean(json.loads(text), task)
    except RecursionError:
        raise JobRefused(f"the arguments of {task} are nested too deeply; send an id instead") from None


def _clean(value: Any, task: str) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise JobRefused(f"the arguments of {task} hold {value}, which JSON cannot; send null or a string instead")
    if isinstance(value, list):
        return [_clean(item, task) for item in value]
    if isinstance(value, dict):
        return {_clean(key, task): _clean(item, task) for key, item in value.items()}
    return value


def _is_odd(text: str) -> bool:
    return "\x00" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text))


def _checked_time(value: str | None, what: str, task: str) -> str | None:
    if not value:
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        raise JobRefused(f"{what}={value!r} of {task} is not an ISO 8601 time") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    if when > datetime.now(UTC) + MAX_DELAY:
        raise JobRefused(f"{what}={value} of {task} is more than {MAX_DELAY.days} days ahead")
    return when.isoformat()


def _checked_delay(seconds: float | None, task: str) -> float | None:
    if seconds is None:
        return None
    if not isinstance(seconds, int | float):
        raise JobRefused(f"countdown={seconds!r} of {task} is not a number of seconds")
    if not math.isfinite(seconds) or seconds > MAX_DELAY.total_seconds():
        raise JobRefused(f"countdown={seconds} of {task} is more than {MAX_DELAY.days} days")
    return max(0.0, float(seconds))


#: The columns that `message_of` needs, in the order in which dispatchers select them.
MESSAGE_COLUMNS = (
    "id, task, args, kwargs, embed, headers, queue, priority, attempt, uncounted, parent_id, root_id, group_id"
)


def message_of(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, Any, Any]]:
    """Build a row's Celery message (protocol 2): headers, properties and body.

    No ETA and no expiry go along: both are kept in Postgres, and a broker would judge them by a worker's clock.
    """
    args, kwargs = row["args"], row["kwargs"]
    headers = {
        "lang": "py",
        "shadow": None,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "ignore_result": False,
        "group_index": None,
        "origin": "switchyard",
        "stamped_headers": None,
        "stamps": {},
        "replaced_task_nesting": 0,
        **row["headers"],
        "task": row["task"],
        "id": row["id"],
        "root_id": row["root_id"],
        "parent_id": row["parent_id"],
        "group": row["group_id"],
        "retries": max(0, row["attempt"] - row["uncounted"] - row["headers"].get("attempts_before", 0)),
        "argsrepr": repr(args)[:1024],
        "kwargsrepr": repr(kwargs)[:1024],
        LEDGER_HEADER: 1,
    }
    properties = {"correlation_id": row["id"], "reply_to": ""}
    embed = {key: row["embed"].get(key) for key in ("callbacks", "errbacks", "chain", "chord")}
    return headers, properties, (args, kwargs, embed)
