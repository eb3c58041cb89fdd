"""What can be run: the `@job` decorator, each task's options, and whether arguments fit it."""

import functools
import inspect
import random
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from celery import Task, current_app, shared_task

from jobs.lanes import DEFAULT_QUEUE, QUEUES
from jobs.unique_options import UniqueOptions

HARD_LIMIT_MARGIN_SECONDS = 120
BACKOFF_CAP_SECONDS = 300


class UnknownTask(LookupError):
    """No task of that name is registered."""


class ArgumentsDoNotFit(ValueError):
    """The arguments cannot be passed to the task."""


@dataclass(frozen=True)
class Policy:
    """How a task's jobs are kept and retried.

    max_attempts: runs before a job rests among the failed. backoff_seconds: the wait before the second run, doubled
    for each one after it, at most `backoff_cap_seconds`; with jitter, between half and the whole of that.
    unique: from the task's arguments to the key under which jobs are folded into one; unique_options: for how long.
    max_crashes: runs that may take their process with them, or lose their worker, before the job rests among the
    failed; they use up no attempts. limit_key: from the arguments to what a limit per key counts a job under.
    """

    max_attempts: int = 1
    backoff_seconds: float = 60
    backoff_cap_seconds: float = BACKOFF_CAP_SECONDS
    jitter: bool = False
    unique: Callable[..., str | None] | None = None
    queue: str = DEFAULT_QUEUE
    priority: int | None = None
    max_crashes: int = 3
    unique_options: UniqueOptions = UniqueOptions()  # noqa: RUF009  (frozen)
    limit_key: Callable[..., str | None] | None = None

    def delay_seconds(self, attempt: int) -> float:
        """The wait after attempt number `attempt`, counted from 1: 60, 120, 240, 300, 300 …"""
        delay = min(self.backoff_seconds * 2.0 ** min(attempt - 1, 30), self.backoff_cap_seconds)
        return delay * random.uniform(0.5, 1.0) if self.jitter else delay  # noqa: S311  (spreads load, no secret)


NO_POLICY = Policy()


@functools.cache
def load_tasks() -> None:
    """Import every app's tasks, once: a web process does so with its first send, a worker at its start."""
    current_app.loader.import_default_modules()


def route(name: str, *_: Any, **__: Any) -> dict[str, Any]:
    """Celery's router: a task's own queue and priority, where the sender names none."""
    policy = policy_of(name)
    return {"queue": policy.queue} if policy.priority is None else {"queue": policy.queue, "priority": policy.priority}


def policy_of(task_name: str) -> Policy:
    """The policy of a registered task; a plain Celery task has one attempt and no key."""
    load_tasks()
    task = current_app.tasks.get(task_name)
    policy = getattr(task, "policy", None)
    return policy if isinstance(policy, Policy) else NO_POLICY


def _check_place(queue: str, priority: int | None, max_attempts: int) -> None:
    if queue not in QUEUES:
        raise ValueError(f"unknown queue {queue!r}; choose from: {', '.join(QUEUES)}")
    if priority is not None and not 0 <= priority <= 9:
        raise ValueError(f"priority {priority} is outside 0 to 9 (9 is taken first)")
    if max_attempts < 1:
        raise ValueError(f"max_attempts is {max_attempts}; it must be at least 1")


class JobDecorator:
    """Registers a task with the ledger's options; inside a running job, the way to report on it."""

    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int | None = None,
        unique: Callable[..., str | None] | None = None,
        unique_while: str = "",
        unique_for_seconds: float | None = None,
        debounce_seconds: float | None = None,
        debounce_max_seconds: float | None = None,
        supersede: bool = False,
        limit_key: Callable[..., str | None] | None = None,
        max_attempts: int = 4,
        backoff_seconds: float = 60,
        backoff_cap_seconds: float = BACKOFF_CAP_SECONDS,
        jitter: bool = False,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
        **options: Any,
    ) -> Any:
        """Make a function a Celery task whose jobs are retried and folded as the options say.

        The task is named after the function unless `name` is given. Further options are Celery's. What a key means
        (unique_while to supersede) is told at `UniqueOptions`. limit_key: from the arguments to what operators may
        limit by, such as `lambda repository_id: f"repository:{repository_id}"`.
        Raises ValueError for an unknown queue, a priority outside 0 to 9, fewer than one attempt, or options of a key
        that exclude each other or come without one.
        """
        unique_options = UniqueOptions(
            unique_while, unique_for_seconds, debounce_seconds, debounce_max_seconds, supersede
        )
        if unique is None and unique_options != UniqueOptions():
            raise ValueError("unique_while, unique_for_seconds, debounce_seconds and supersede need unique=…, the key")
        _check_place(queue, priority, max_attempts)
        if soft_time_limit is not None and time_limit is None:
            time_limit = soft_time_limit + HARD_LIMIT_MARGIN_SECONDS
        policy = Policy(
            max_attempts,
            backoff_seconds,
            backoff_cap_seconds,
            jitter,
            unique,
            queue,
            priority,
            unique_options=unique_options,
            limit_key=limit_key,
            # Who allows one attempt does not want a second run, whatever ended the first.
            max_crashes=1 if max_attempts == 1 else Policy.max_crashes,
        )

        def register(wrapped: Callable[..., Any]) -> Any:
            return shared_task(
                name=name or wrapped.__name__,
                policy=policy,
                soft_time_limit=soft_time_limit,
                time_limit=time_limit,
                **options,
            )(wrapped)

        return register if function is None else register(function)

    def progress(self, fraction: float, note: str = "") -> None:
        """Report how far the running job is, from 0 to 1, and raise JobCancelled if an operator asked it to stop.

        Stored at most twice a second, the last step always. Outside a job it does nothing.
        """
        from jobs.ledger.progress import report

        report(fraction, note)

    def check_cancelled(self) -> None:
        """Raise JobCancelled if an operator asked the running job to stop."""
        from jobs.ledger.progress import check_cancelled

        check_cancelled()


job = JobDecorator()


@dataclass(frozen=True)
class TaskInfo:
    """A registered task as operators see it. Each parameter: name, type, required, default."""

    name: str
    summary: str
    queue: str
    max_attempts: int
    unique: bool
    parameters: list[dict[str, Any]]
    unique_options: dict[str, Any] | None = None


def _is_listed(task: Task) -> bool:
    return not task.name.startswith("celery.")


def registered_tasks() -> Iterator[TaskInfo]:
    """Every task that may be enqueued from outside, by name."""
    load_tasks()
    for name, task in sorted(current_app.tasks.items()):
        if _is_listed(task):
            yield describe(name)


def describe(name: str) -> TaskInfo:
    task = find_task(name)
    policy = policy_of(name)
    return TaskInfo(
        name=name,
        summary=(inspect.getdoc(task.run) or "").split("\n\n")[0].replace("\n", " "),
        queue=policy.queue,
        max_attempts=policy.max_attempts,
        unique=policy.unique is not None,
        parameters=[_parameter(p) for p in _signature(task).parameters.values()],
        unique_options=policy.unique_options.as_row() if policy.unique is not None else None,
    )


def find_task(name: str) -> Task:
    """Raises UnknownTask, naming what there is, unless the task is registered and may be enqueued from outside."""
    load_tasks()
    task = current_app.tasks.get(name)
    if task is None or not _is_listed(task):
        known = ", ".join(sorted(n for n, t in current_app.tasks.items() if _is_listed(t)))
        raise UnknownTask(f"unknown task {name!r}; choose from: {known}")
    return task


def check_arguments(task: Task, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise ArgumentsDoNotFit unless the task can be called so and simple annotations agree."""
    signature = _signature(task)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise ArgumentsDoNotFit(f"{task.name}{signature} cannot be called so: {exc}") from None
    hints = _hints(task)
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if name in hints and kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            _check_type(task, name, value, hints[name])


def _signature(task: Task) -> inspect.Signature:
    """Of the function as it is called: a bound task's `self` is not among the parameters."""
    return inspect.signature(task.run)


def _hints(task: Task) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(task.run))
    except (NameError, TypeError):
        return {}


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    required = parameter.default is inspect.Parameter.empty
    annotation = parameter.annotation
    return {
        "name": parameter.name,
        "type": "any" if annotation is inspect.Parameter.empty else inspect.formatannotation(annotation),
        "required": required and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD),
        "default": None if required else parameter.default,
    }


def _check_type(task: Task, name: str, value: Any, hint: Any) -> None:
    """Check what JSON can hold; anything more elaborate is the task's own business."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    allowed = [typing.get_origin(option) or option for option in options]
    if not all(option in (int, float, str, bool, list, dict, types.NoneType) for option in allowed):
        return
    if float in allowed:
        allowed.append(int)
    if (isinstance(value, bool) and bool not in allowed) or not isinstance(value, tuple(allowed)):
        expected = " or ".join("null" if o is types.NoneType else o.__name__ for o in dict.fromkeys(allowed))
        raise ArgumentsDoNotFit(f"{task.name}: {name} must be {expected}, not {type(value).__name__} ({value!r:.80})")
