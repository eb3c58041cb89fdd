"""`manage.py jobs`: what an operator can do to jobs."""

import math
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.http import QueryDict

from jobs import strict_json
from jobs.api.filters import JobFilter
from jobs.api.serializers import EnqueuedSerializer, JobDetailSerializer, JobSerializer
from jobs.api.workflow_views import as_data
from jobs.lanes import QUEUES
from jobs.management.output import OperatorCommand, add_verbs, cell, json_option, plain, time_option
from jobs.models import Job, State
from jobs.models.job import FINISHED
from jobs.operators import jobs as operators
from jobs.operators.actors import command_actor
from jobs.operators.cancelling import cancelling_of
from jobs.operators.search import find_job
from jobs.operators.workflow import lines_of, workflow_of
from jobs.unique_options import NAMES as KEY_OPTIONS
from jobs.unique_options import QUEUED, UNFINISHED

MAX_LIMIT = 1000
POLL_SECONDS = 0.1
COLUMNS = {
    "id": "ID",
    "state": "STATE",
    "task": "TASK",
    "queue": "QUEUE",
    "attempt": "ATTEMPT",
    "created_at": "CREATED",
    "error": "ERROR",
}


class Command(OperatorCommand):
    help = "List, show, enqueue, retry, cancel and discard jobs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list jobs, the newest first", _add_list),
                ("show", "show one job with its attempts", _add_show),
                ("enqueue", "enqueue a job of a registered task and print its id", _add_enqueue),
                ("retry", "queue failed or cancelled jobs again", _add_retry),
                ("cancel", "cancel unfinished jobs; a running one is asked, then made to stop", _add_cancel),
                ("discard", "discard waiting, failed or cancelled jobs that nobody wants any more", _add_discard),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb}")(as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        if not 1 <= options["limit"] <= MAX_LIMIT:
            raise CommandError(f"--limit is {options['limit']}; it takes 1 to {MAX_LIMIT}", returncode=2)
        asked = QueryDict(mutable=True)
        asked.setlist("state", options["state"] or [])
        for name in ("task", "queue", "worker", "search", "created_after", "created_before"):
            if options[name] is not None:
                asked[name] = options[name]
        chosen = JobFilter(asked, Job.objects.order_by("-created_at", "-id"))
        if not chosen.is_valid():
            name, messages = next(iter(chosen.errors.items()))
            given = cell(", ".join(asked.getlist(name)))[:80]
            raise CommandError(f"--{name.replace('_', '-')} {given!r}: {messages[0]}", returncode=2)
        rows = JobSerializer(chosen.qs[: options["limit"]], many=True).data
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, rows)

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        job = find_job(options["id"])
        workflow = workflow_of(job)
        shown = {**JobDetailSerializer(job).data, "workflow": as_data(job, workflow)}
        if as_json:
            self.print_json(shown)
            return
        for key, value in shown.items():
            if key not in ("attempts", "events", "workflow"):
                self.stdout.write(f"{key:<20}{cell(value)}")
        for event in shown["events"]:
            self.stdout.write(f"\n{event['at']} {event['kind']}: {cell(event['text'])}")
        for attempt in shown["attempts"]:
            self.stdout.write(
                f"\nattempt {attempt['number']}: {attempt['outcome']} on {cell(attempt['worker'])}, "
                f"{attempt['started_at']} to {attempt['finished_at'] or 'now'}"
            )
            if attempt["error_class"]:
                self.stdout.write(plain(attempt["traceback"] or f"{attempt['error_class']}: {attempt['message']}"))
        for line in lines_of(workflow):
            self.stdout.write(plain(line))

    def do_enqueue(self, as_json: bool, options: dict[str, Any]) -> None:
        args = json_option("--args", options["job_args"], list) or []
        kwargs = {**(json_option("--kwargs", options["kwargs"], dict) or {}), **_pairs(options["pairs"])}
        if options["wait"] is not None and not 0 <= options["wait"] < math.inf:
            raise CommandError(f"--wait is {options['wait']}; it must be a number of seconds, 0 or more", returncode=2)
        found = operators.enqueue_job(
            command_actor(),
            options["task"],
            args,
            kwargs,
            queue=options["queue"],
            priority=options["priority"],
            run_at=time_option("--run-at", options["run_at"]),
            unique_key=options["unique_key"],
            **{name: options[name] for name in KEY_OPTIONS},
        )
        if found.folded:
            self.say(f"folded into job {found.job.pk}, which is {found.job.state} and has the same unique key")
        job = found.job if options["wait"] is None else self._wait(found.job, options["wait"])
        if as_json:
            self.print_json({**EnqueuedSerializer(job).data, "folded": found.folded})
        else:
            self.stdout.write(job.pk)
        if options["wait"] is not None:
            self._judge(job, options["wait"])

    def _wait(self, job: Job, seconds: float) -> Job:
        deadline = time.monotonic() + seconds
        while job.state not in FINISHED and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            job.refresh_from_db()
        return job

    def _judge(self, job: Job, seconds: float) -> None:
        if job.state == State.SUCCEEDED:
            self.say(f"succeeded: {cell(JobSerializer(job).data['result'])}")
        elif job.state in FINISHED:
            raise CommandError(f"job {job.pk} {job.state}: {cell(job.error or job.reason)}")
        else:
            raise CommandError(
                f"job {job.pk} is still {job.state} after {seconds:g} s; it goes on without this command. "
                "If no worker serves its queue, see: manage.py queues list"
            )

    def do_retry(self, as_json: bool, options: dict[str, Any]) -> None:
        edits = {
            "args": json_option("--args", options["job_args"], list),
            "kwargs": json_option("--kwargs", options["kwargs"], dict),
        }
        given = {name: value for name, value in edits.items() if value is not None}
        self._each(operators.retry_job, "retried", as_json, options["ids"], **given)

    def do_cancel(self, as_json: bool, options: dict[str, Any]) -> None:
        wait = options["wait"]
        if wait is not None and not 0 <= wait < math.inf:
            raise CommandError(f"--wait is {wait}; it must be a number of seconds, 0 or more", returncode=2)
        self._each(operators.cancel_job, "cancelled, or asked to stop", as_json, options["ids"], force=options["force"])
        if wait is not None:
            self._wait_cancelled(options["ids"], wait)

    def _wait_cancelled(self, ids: list[str], seconds: float) -> None:
        """Tell how each job ended; exit 1 unless all are cancelled."""
        deadline = time.monotonic() + seconds
        jobs = [self._wait(find_job(job_id), deadline - time.monotonic()) for job_id in ids]
        for job in jobs:
            stage = cancelling_of(job)
            self.say(f"{job.pk}: {job.state}{f' ({stage.sentence()})' if stage else ''}: {cell(job.reason)}")
        if any(job.state != State.CANCELLED for job in jobs):
            raise SystemExit(1)

    def do_discard(self, as_json: bool, options: dict[str, Any]) -> None:
        self._each(operators.discard_job, "discarded", as_json, options["ids"], reason=options["reason"])

    def _each(self, action: Any, done: str, as_json: bool, ids: list[str], **options: Any) -> None:
        """Nothing is done if one of the ids is unknown; exit 1 if a job's state did not allow it."""
        for job_id in ids:
            find_job(job_id)
        tally = operators.each(action, command_actor(), ids, **options)
        if as_json:
            self.print_json({"changed": tally.changed, "skipped": tally.skipped})
        else:
            for job_id in tally.changed:
                self.stdout.write(job_id)
        self.say(tally.sentence(done))
        if tally.skipped:
            raise SystemExit(1)


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("--state", action="append", help=f"one of: {', '.join(State.values)}; may be repeated")
    parser.add_argument("--task", help="the exact name of a task")
    parser.add_argument("--queue", help=f"one of: {', '.join(QUEUES)}")
    parser.add_argument("--worker", help="the exact name of the worker that ran it last")
    parser.add_argument("--search", help="the beginning of an id, a task, an argument, or key:value of an argument")
    parser.add_argument("--created-after", metavar="TIME", help="ISO 8601")
    parser.add_argument("--created-before", metavar="TIME", help="ISO 8601")
    parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")


def _add_show(parser: ArgumentParser) -> None:
    parser.add_argument("id")


def _add_enqueue(parser: ArgumentParser) -> None:
    parser.add_argument("task", help="its name")
    parser.add_argument("pairs", nargs="*", metavar="key=value", help="a named argument; the value is JSON or text")
    parser.add_argument("--args", dest="job_args", metavar="JSON", help="arguments by position, as a list")
    parser.add_argument("--kwargs", metavar="JSON", help="named arguments, as an object")
    parser.add_argument("--queue", help=f"instead of the task's own; one of: {', '.join(QUEUES)}")
    parser.add_argument("--priority", type=int, metavar="0-9", help="9 is taken first")
    parser.add_argument("--run-at", metavar="TIME", help="not before this time, ISO 8601")
    _add_key_options(parser)
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait for the end; exit 1 unless it succeeds")


def _add_key_options(parser: ArgumentParser) -> None:
    parser.add_argument("--unique-key", metavar="KEY", help="fold into the unfinished job that has this key")
    parser.add_argument("--unique-while", choices=[UNFINISHED, QUEUED], help="how long the key is held")
    parser.add_argument(
        "--unique-for", dest="unique_for_seconds", type=float, metavar="SECONDS", help="hold it, also when succeeded"
    )
    parser.add_argument(
        "--debounce",
        dest="debounce_seconds",
        type=float,
        metavar="SECONDS",
        help="wait so long; a newer one of the key brings its arguments and starts the wait anew",
    )
    parser.add_argument(
        "--debounce-max", dest="debounce_max_seconds", type=float, metavar="SECONDS", help="the longest such wait"
    )
    parser.add_argument(
        "--supersede", action="store_true", help="take the place of waiting jobs of the key, ask running ones to stop"
    )


def _add_ids(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")


def _add_cancel(parser: ArgumentParser) -> None:
    _add_ids(parser)
    parser.add_argument(
        "--force", action="store_true", help="kill the processes of running jobs at once, with all that they started"
    )
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="wait for the end; exit 1 unless all are cancelled"
    )


def _add_retry(parser: ArgumentParser) -> None:
    _add_ids(parser)
    parser.add_argument("--args", dest="job_args", metavar="JSON", help="other arguments by position, as a list")
    parser.add_argument("--kwargs", metavar="JSON", help="other named arguments, as an object")


def _add_discard(parser: ArgumentParser) -> None:
    _add_ids(parser)
    parser.add_argument("--reason", default="", help="why, for the record")


def _pairs(pairs: list[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CommandError(
                f"{pair[:80]!r} is not key=value; give positional arguments as --args JSON", returncode=2
            )
        try:
            found[key] = strict_json.loads(text)
        except strict_json.NotJson:
            found[key] = text
    return found
