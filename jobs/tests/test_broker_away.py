"""Sends with the broker down, hung or fed with rubbish: accepted at once, run when it is back, no worker harmed."""

import base64
import json
import signal
import subprocess
import time
from functools import partial
from typing import Any

import pytest
import redis

from jobs.models import Job, State
from jobs.stack.servers import Valkey
from jobs.tests.sending import broker_url, send_from_a_process

pytestmark = pytest.mark.django_db(transaction=True)


def send_five(server: Valkey, name: str, task: str = "echo", argument: str = "1") -> None:
    """Send five jobs from a process of their own, none of which waits for the broker, whatever that does.

    One that did would wait for longer than the process may take.
    """
    send_from_a_process(
        f"""
        from celery import current_app
        current_app.conf.broker_transport_options |= dict.fromkeys(["socket_timeout", "socket_connect_timeout"], 600)
        for n in range(5):
            tasks.{task}.apply_async(({argument},), task_id=f"{name}-{{n}}")
        """,
        BROKER_URL=broker_url(server),
    )


def all_succeeded(name: str) -> bool:
    return Job.objects.filter(pk__startswith=name, state=State.SUCCEEDED).count() == 5


def test_sends_succeed_while_the_broker_is_down_and_run_when_it_is_back(valkey, live_worker, until):
    worker = live_worker("default", BROKER_URL=broker_url(valkey))
    assert valkey.process is not None
    valkey.process.kill()
    valkey.process.wait()

    send_five(valkey, "down")

    assert Job.objects.filter(pk__startswith="down", state=State.QUEUED, sent_at=None).count() == 5
    valkey.run(subprocess.DEVNULL)
    until(lambda: all_succeeded("down"), 40)
    assert worker.process.poll() is None


def test_sends_do_not_wait_for_a_hung_broker(valkey, live_worker, until):
    live_worker("default", BROKER_URL=broker_url(valkey))
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        send_five(valkey, "hung")
        assert Job.objects.filter(pk__startswith="hung", state=State.QUEUED).count() == 5
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    until(lambda: all_succeeded("hung"), 40)


def test_a_worker_waits_for_a_full_broker_to_have_room(valkey, live_worker, until):
    worker = live_worker("default", BROKER_URL=broker_url(valkey))
    client = redis.Redis(unix_socket_path=str(valkey.socket))
    client.config_set("maxmemory", 1)

    client.client_kill_filter(_type="normal", skipme=True)
    send_five(valkey, "full")

    until(lambda: "maxmemory" in worker.log())
    client.config_set("maxmemory", 0)
    until(lambda: all_succeeded("full"), 40)
    assert worker.process.poll() is None


_STATES = """
from celery import current_app
from jobs import health
from jobs.operators.health import examine
print(health.states()["broker"])
print([f"{found.state} {found.detail}" for found in examine() if found.part == "broker"][0])
"""


@pytest.mark.long
def test_sends_do_not_notice_that_the_broker_is_full(valkey, live_worker, until):
    live_worker("default", BROKER_URL=broker_url(valkey))
    client = redis.Redis(unix_socket_path=str(valkey.socket))
    client.config_set("maxmemory", "1mb")
    client.eval("return 1", 0)

    send_five(valkey, "full")

    said = send_from_a_process(_STATES, BROKER_URL=broker_url(valkey)).splitlines()
    assert said == ["full", "wrong full: it takes no messages"]
    # A dispatcher marks what it tries to send, and takes the mark back when it is refused.
    until(lambda: Job.objects.filter(pk__startswith="full", state=State.QUEUED, sent_at=None).count() == 5)
    client.config_set("maxmemory", "0")
    until(lambda: all_succeeded("full"), 40)


def test_a_hung_broker_is_told_of_and_not_waited_for(valkey):
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        said = send_from_a_process(_STATES, BROKER_URL=broker_url(valkey))
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    assert said.splitlines() == ["away: TimeoutError", "wrong not reachable: away: TimeoutError"]


@pytest.mark.long
@pytest.mark.parametrize("keeps_a_file", [True, False])
def test_all_jobs_run_once_although_the_broker_is_killed_under_load(keeps_a_file, valkey, live_worker, until):
    valkey.throwaway = not keeps_a_file
    valkey.stop()
    valkey.run(subprocess.DEVNULL)
    live_worker("default", BROKER_URL=broker_url(valkey))
    for turn in range(3):
        send_five(valkey, f"killed-{turn}", "sleep", "0.2")
        assert valkey.process is not None
        valkey.process.kill()
        valkey.process.wait()
        send_five(valkey, f"away-{turn}", "sleep", "0.2")
        valkey.run(subprocess.DEVNULL)

    until(lambda: Job.objects.filter(state=State.SUCCEEDED).count() == 30, 60)
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


@pytest.mark.long
def test_workers_come_back_soon_after_a_long_outage(valkey, live_worker, until):
    """Celery alone waits longer with each attempt, up to half a minute."""
    worker = live_worker("default", BROKER_URL=broker_url(valkey))
    assert valkey.process is not None
    valkey.process.kill()
    valkey.process.wait()
    send_five(valkey, "long")
    time.sleep(30)

    valkey.run(subprocess.DEVNULL)

    until(lambda: all_succeeded("long"), 10)
    assert worker.process.poll() is None


@pytest.mark.long
def test_messages_that_are_wiped_are_sent_again(valkey, live_worker, until):
    live_worker("default", concurrency=1, BROKER_URL=broker_url(valkey))
    send_five(valkey, "wiped", "sleep", "2")
    until(Job.objects.filter(pk__startswith="wiped", state=State.RUNNING).exists)

    redis.Redis(unix_socket_path=str(valkey.socket)).flushall()

    until(lambda: all_succeeded("wiped"), 30)


@pytest.mark.long
def test_jobs_that_a_worker_had_fetched_run_after_a_restart_of_the_broker(valkey, live_worker, until):
    live_worker("default", concurrency=1, BROKER_URL=broker_url(valkey))
    send_five(valkey, "fetched", "sleep", "2")
    until(Job.objects.filter(pk__startswith="fetched", state=State.RUNNING).exists)

    valkey.stop()
    valkey.run(subprocess.DEVNULL)

    until(lambda: all_succeeded("fetched"), 60)
    assert set(Job.objects.filter(pk__startswith="fetched").values_list("attempt", flat=True)) == {1}


def _message(headers: dict, body: bytes, content_type: str = "application/json") -> str:
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": headers,
            "properties": {
                "correlation_id": "x",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "default"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": "t",
            },
        }
    )


#: What Kombu itself fails on, before Celery sees it.
_NO_MESSAGES = (
    "",
    "not json",
    "null",
    "[]",
    "7",
    "{}",
    '"text"',
    b"\xff\xfe",
    "[" * 100_000,
    '{"__type__": "bytes", "__value__": 5}',
    '{"__type__": "decimal", "__value__": "x"}',
    '{"body": "", "headers": {}}',
    '{"body": "", "headers": {}, "properties": null}',
    '{"body": "", "headers": {}, "properties": []}',
    '{"body": "", "headers": {}, "properties": {}}',
    '{"body": "", "headers": {}, "properties": {"delivery_tag": ["t"], "delivery_info": {}}}',
    '{"body": "", "headers": {}, "properties": {"delivery_tag": "t", "delivery_info": "x"}}',
    '{"body": "", "headers": {}, "properties": {"delivery_tag": "t", "body_encoding": "x"}}',
    '{"body": "x", "headers": {}, "properties": {"delivery_tag": "t", "body_encoding": "rot13"}}',
    '{"body": "%", "headers": {}, "properties": {"delivery_tag": "t", "body_encoding": ["base64"]}}',
    '{"body": "abc", "headers": {}, "properties": {"delivery_tag": "t", "body_encoding": "base64"}}',
    '{"body": ["x"], "headers": {}, "properties": {"delivery_tag": "t"}}',
    '{"headers": null, "properties": {"delivery_tag": "t"}}',
    '{"headers": "x", "properties": {"delivery_tag": "t"}}',
    '{"body": "x", "headers": [], "properties": {"delivery_tag": "t"}, "content-type": {}}',
)


def _forged_messages(known: dict) -> list[str]:
    """Messages of the right shape, with what no sender puts in one."""
    body = b"[[1], {}, {}]"
    limits: tuple[Any, ...] = ("ab", 5, [1], ["a", "b"], {}, [float("nan"), 1])
    times: tuple[Any, ...] = (5, ["x"], {}, "never")
    headers: list[dict[str, Any]] = [
        {"task": ["selftest.echo"]},
        {"task": {}},
        {"task": None},
        {"task": 7, "id": ["forged"]},
        {"task": ["a"], "id": {}},
        {"id": "forged", "compression": "zip"},
        *({**known, "id": value, "ledger": 1} for value in (None, *times[:-1])),
        *({**known, "timelimit": value, "ledger": 1} for value in limits),
        *({**known, "retries": value, "ledger": 1} for value in ("x", [1], -1, 0.5)),
        *({**known, "eta": value, "ledger": 1} for value in times),
        *({**known, "expires": value, "ledger": 1} for value in times),
        {**known, "compression": ["zlib"], "ledger": 1},
    ]
    bodies = (b"", b"null", b"[]", b"{}", b"[[1], {}]", b"[" * 100_000, b"\xff", b'{"task": ["a"]}', b'{"task": {}}')
    return [
        *(_message(each, body) for each in headers),
        *(_message({**known, "ledger": 1}, each) for each in bodies),
        *(_message({}, each) for each in bodies),
        _message({}, b'{"task": "selftest.echo", "id": ["a"], "args": [], "kwargs": {}}'),
        _message({}, b'{"task": "selftest.echo", "id": "a", "args": 5, "kwargs": {}, "timelimit": "x"}'),
        _message({**known, "ledger": 1}, body, "no/such-type"),
    ]


def test_rubbish_in_the_broker_is_dropped_and_the_worker_lives(valkey, live_worker, until):
    worker = live_worker("default", BROKER_URL=broker_url(valkey))
    known = {"task": "selftest.echo", "id": "forged", "lang": "py"}
    client = redis.Redis(unix_socket_path=str(valkey.socket))
    # Where workers listen to commands: a moment after they are ready, and anew after one that they cannot read.
    control = "/0.celery.pidbox"
    for item in _NO_MESSAGES:
        client.rpush("default", item)
        until(partial(client.publish, control, item))
    for message in (
        *_forged_messages(known),
        _message({"task": "os.system", "id": "unknown"}, b'[["ls"], {}, {}]'),
        _message(known, b"\x80\x04N.", "application/x-python-serialize"),
        _message(known, b"{not json"),
        _message(known, b'"a string"'),
        _message(known, b"[1, 2, 3]"),
        _message({**known, "eta": "never"}, b"[[1], {}, {}]"),
        _message({**known, "ledger": 1}, b"[[1], {}, {}]"),
        _message({**known, "id": "i" * 300}, b"[[1], {}, {}]"),
        _message({**known, "id": "a\x00b"}, b"[[1], {}, {}]"),
        _message({**known, "id": "a\ud800b"}, b"[[1], {}, {}]"),
        _message({**known, "id": "a\x00b", "ledger": 1}, b"[[1], {}, {}]"),
        _message({**known, "parent_id": "p" * 300}, b"[[1], {}, {}]"),
        _message({**known, "unique_key": "k" * 300}, b"[[1], {}, {}]"),
        _message({}, b"{}"),
        _message({"task": "selftest.echo"}, b"[[1], {}, {}]"),
    ):
        client.lpush("default", message)

    send_five(valkey, "after")

    until(lambda: all_succeeded("after"))
    assert worker.process.poll() is None
    assert "Unrecoverable error" not in worker.log()
    assert not Job.objects.exclude(pk__startswith="after").exists()
    # Stopped, the worker gives back what it has fetched: nothing of this is among it.
    worker.stop()
    assert client.keys("default*") == client.keys("unacked*") == []
