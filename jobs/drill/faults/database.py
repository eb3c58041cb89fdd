"""Faults of Postgres."""

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import psycopg

from jobs.drill.faults.workers import is_root
from jobs.drill.registry import Scene, fault
from jobs.drill.system import wait_for

_SMALL_MIB = 64


@fault("database-crash", "Postgres is stopped at once (immediate), several times.", row=14, weight=4)
def crash(scene: Scene) -> None:
    for _ in range(5 if scene.figures["alone"] else 1):
        with scene.system.database.down(signal.SIGQUIT):
            pass
        time.sleep(scene.rng.uniform(0.2, 1.5))


@fault("database-down", "Postgres is away for 8 s, or a minute in the long form.", row=15, weight=2)
def down(scene: Scene) -> None:
    answers: list[tuple[int, float]] = []
    with scene.system.database.down(signal.SIGINT):
        until = time.monotonic() + (60.0 if scene.long else 8.0)
        while time.monotonic() < until:
            answers.append(_ask_web(scene))
            time.sleep(0.5)
    statuses = sorted({status for status, _ in answers})
    scene.figures |= {"web_statuses": statuses, "web_slowest_s": round(max(took for _, took in answers), 2)}
    if scene.figures["alone"]:
        scene.expect(not {200, 201, 202} & set(statuses), f"the API answered {statuses} without a database")


def _ask_web(scene: Scene) -> tuple[int, float]:
    """The API's status, 0 if the connection broke, and how long it took."""
    headers = {"Authorization": f"Bearer {scene.system.token}"}
    request = urllib.request.Request(f"{scene.system.web_url}/api/v1/jobs/", headers=headers)  # noqa: S310
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            status = response.status
    except urllib.error.HTTPError as exc:
        status = exc.code
    except OSError:
        status = 0
    return status, time.monotonic() - began


def not_root() -> str | None:
    return None if is_root() else "it mounts a small file system, which needs root"


@fault("disk-full", "The disk that holds the table of jobs is full (root).", row=16, missing=not_root)
def disk_full(scene: Scene) -> None:
    system = scene.system
    small = system.folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_MIB}m,mode=0711", "tmpfs", str(small)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        raise RuntimeError(f"no file system could be mounted: {mounted.stderr.strip()}")

    def unmount() -> None:
        subprocess.run(["umount", "-l", str(small)], capture_output=True, check=False)

    system.on_close(unmount)
    space = small / "space"
    space.mkdir(mode=0o700)
    system.postgres.account.own(space)
    ballast = small / "ballast"
    _move_table(scene, f"CREATE TABLESPACE small LOCATION '{space}'", "small")
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(os.urandom(64 * 1024))
        time.sleep(20.0 if scene.long else 6.0)
        scene.figures["web_status"] = _ask_web(scene)[0]
    finally:
        ballast.unlink(missing_ok=True)
        _move_table(scene, None, "pg_default")
        with system.connect() as connection:
            connection.execute("DROP TABLESPACE small")
        unmount()


def _move_table(scene: Scene, before: str | None, tablespace: str) -> None:
    """Move jobs and their indexes, waiting for a gap between the transactions that use them."""
    with scene.system.connect() as connection:
        if before:
            connection.execute(before)
        connection.execute("SET lock_timeout = '2 s'")

        def move() -> bool:
            try:
                connection.execute(f"ALTER TABLE jobs_job SET TABLESPACE {tablespace}")
                indexes = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'jobs_job'").fetchall()
                for (name,) in indexes:
                    connection.execute(f'ALTER INDEX "{name}" SET TABLESPACE {tablespace}')
            except psycopg.errors.LockNotAvailable:
                return False
            return True

        wait_for(move, "a lock on the table of jobs", 30)


@fault("lost-commit", "Postgres commits, and the answer is lost: the client must try again.", row=17, weight=4)
def lost_commit(scene: Scene) -> None:
    """Over REST, which goes through the proxy, and by a sender in Python that does, too."""
    system = scene.system
    sender = system.sender(
        f"{scene.tag}-commit", rate=10, seed=scene.seed, count=30, kinds={"effect": 1, "echo": 1}, **{"as": "python"}
    )
    sender.environment = {**sender.environment, "DATABASE_URL": system.proxied_database}
    system.ask(lambda: sender.start(once=True))
    system.processes[sender.name] = sender
    time.sleep(3)
    for _ in range(4):
        system.order_proxy(f"database lose {scene.rng.randint(1, 3)}")
        time.sleep(scene.rng.uniform(0.2, 0.8))
    system.order_proxy("database pass")
    deadline = time.monotonic() + 20
    while sender.pid is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    system.ask(sender.end)


@fault("backends-ended", "All sessions of Postgres are ended (pg_terminate_backend).", row=18, weight=4)
def end_backends(scene: Scene) -> None:
    for _ in range(3):
        with contextlib.suppress(psycopg.OperationalError), scene.system.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        time.sleep(scene.rng.uniform(0.1, 1.0))


@fault("lock-held", "Somebody holds a lock on the table of jobs for 5 s, or 30 s in the long form.", row=18, weight=2)
def hold_lock(scene: Scene) -> None:
    with contextlib.suppress(psycopg.OperationalError), scene.system.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE jobs_job IN ACCESS EXCLUSIVE MODE")
        time.sleep(30.0 if scene.long else 5.0)
