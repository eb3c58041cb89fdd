"""Faults of the broker."""

import shutil
import signal
import time
from collections.abc import Callable

import redis

from jobs.drill.registry import Scene, fault

#: How long what is owed may take to be sent again before the measure gives up.
_RESENT_SECONDS = 30.0
_QUEUED = "state = 'queued' AND NOT held"


def client(scene: Scene) -> "redis.Redis":
    return redis.Redis(unix_socket_path=str(scene.system.valkey.socket), socket_timeout=10)


def watch_resent(scene: Scene, *, what: str = "true") -> None:
    """Measure how long the jobs that are owed a message now take to be sent one, or to be run."""
    began = time.time()
    owed = scene.rows(
        f"SELECT id FROM jobs_job WHERE {_QUEUED} AND {what} AND run_at < now() - interval '1 s'"  # noqa: S608
    )
    ids = [row[0] for row in owed]
    while ids and time.time() - began < _RESENT_SECONDS:
        left = scene.rows(
            f"SELECT count(*) FROM jobs_job WHERE {_QUEUED} AND id = ANY(%s) "  # noqa: S608
            "AND (sent_at IS NULL OR sent_at < to_timestamp(%s))",
            ids,
            began,
        )
        if left == [(0,)]:
            scene.resent_s.append(time.time() - began)
            return
        time.sleep(0.1)
    if ids:
        scene.resent_s.append(_RESENT_SECONDS)


@fault("broker-wipe", "Redis is emptied (FLUSHALL) under load.", row=8, weight=6, times=3)
def wipe(scene: Scene) -> None:
    with scene.system.broker.lock:
        scene.note_hit(f"{_QUEUED} AND sent_at IS NOT NULL", patience_seconds=0.0)
        client(scene).flushall()
    watch_resent(scene)


def restart(scene: Scene, *, meanwhile: Callable[[], None] = lambda: None, seconds: float = 0.0) -> None:
    with scene.system.broker.down(signal.SIGKILL):
        meanwhile()
        time.sleep(seconds)
    watch_resent(scene)


@fault("broker-kill", "Redis is killed and started again, with its append-only file.", row=9, weight=4)
def kill(scene: Scene) -> None:
    restart(scene)


@fault("broker-kill-empty", "Redis is killed and comes back with nothing.", row=9, weight=4)
def kill_empty(scene: Scene) -> None:
    restart(scene, meanwhile=lambda: shutil.rmtree(scene.system.valkey.folder / "appendonlydir", ignore_errors=True))


@fault("broker-hang", "Redis takes connections and does not answer.", row=10, weight=3)
def hang(scene: Scene) -> None:
    broker = scene.system.broker
    slowest = 0.0
    with broker.lock:
        broker.send(signal.SIGSTOP)
        try:
            until = time.monotonic() + (30.0 if scene.long else 5.0)
            while time.monotonic() < until:
                slowest = max(slowest, scene.system.web_answers())
                time.sleep(0.2)
        finally:
            broker.send(signal.SIGCONT)
    scene.figures["web_slowest_s"] = round(slowest, 2)
    watch_resent(scene, what="sent_at IS NULL")


@fault("broker-full", "Redis has no memory left and refuses writes.", row=11, weight=3)
def full(scene: Scene) -> None:
    with scene.system.broker.lock:
        broker = client(scene)
        broker.config_set("maxmemory-policy", "noeviction")
        broker.config_set("maxmemory", "1")
        try:
            time.sleep(10.0 if scene.long else 4.0)
        finally:
            broker.config_set("maxmemory", "0")
    watch_resent(scene, what="sent_at IS NULL")


@fault("broker-down", "Redis is away for 8 s, or 10 minutes in the long form; the web server stays.", row=12, weight=2)
def down(scene: Scene) -> None:
    restart(scene, seconds=600.0 if scene.long else 8.0)


@fault("reply-stall", "Replies of Redis are held back, and then the connections are reset (RST).", row=13, weight=5)
def stall(scene: Scene) -> None:
    for _ in range(3):
        scene.system.order_proxy("broker stall")
        time.sleep(scene.rng.uniform(0.2, 1.5))
        scene.system.order_proxy("broker reset")
        time.sleep(scene.rng.uniform(0.2, 1.0))
    watch_resent(scene)
