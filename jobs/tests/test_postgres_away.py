"""Postgres down, hung, locked or full: the web refuses quickly and cleanly, workers wait and go on."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client

from jobs.ledger import publisher
from jobs.ledger.connection import LOCK_SECONDS, LedgerConnection
from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.operators.tokens import create_token
from jobs.postgres.limits import answers_within
from jobs.stack.servers import Postgres
from jobs.tasks import sleep
from jobs.tests import probe_tasks as probe
from jobs.tests.live import database_url
from jobs.tests.proxies import LosesCommits
from jobs.tests.sending import send_from_a_process

pytestmark = pytest.mark.django_db(transaction=True)

PROJECT = Path(__file__).resolve().parents[2]
PAGES = ("/api/v1/jobs/", "/admin/jobs/job/", "/webhooks/github/")


@pytest.fixture
def signed_in(client: Client, admin_user) -> Client:
    client.force_login(admin_user)
    client.raise_request_exception = False
    return client


@contextmanager
def hung_server() -> Iterator[None]:
    """The server's process for our connection says nothing more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        connection.close_if_unusable_or_obsolete()


@pytest.mark.parametrize("path", PAGES)
def test_a_hung_database_ends_a_request_with_503(path, signed_in, settings):
    settings.DATABASE_ANSWER_SECONDS = 1
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": "s"}

    with hung_server():
        answer = ask(signed_in, path)
    settings.DATABASE_ANSWER_SECONDS = 60  # else a busy machine's page would be refused as well

    assert answer.status_code == 503
    assert answer["Retry-After"]
    kind = "text/plain" if path.startswith("/admin/") else "application/problem+json"
    assert answer["Content-Type"].startswith(kind)
    connection.close_if_unusable_or_obsolete()  # as at the end of every request; the test client leaves it out
    assert ask(signed_in, path).status_code < 500


def ask(client: Client, path: str):
    if not path.startswith("/webhooks/"):
        return client.get(path)
    import hashlib
    import hmac

    body = b'{"action": "opened"}'
    headers = {
        "X-Hub-Signature-256": "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest(),
        "X-GitHub-Event": "pull_request",
        "X-GitHub-Delivery": f"delivery-{time.monotonic_ns()}",
    }
    return client.post(path, body, content_type="application/json", headers=headers)


def test_only_inside_of_the_limit_an_answer_is_waited_for_so_long():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.3)")
        with answers_within(0.2), pytest.raises(OperationalError, match=r"no answer within 0\.2 s"):
            cursor.execute("SELECT pg_sleep(20)")
    connection.close()


def test_the_server_ends_what_a_request_waits_too_long_for(signed_in, settings):
    """So that a slow statement does not go on when nobody waits for it, and a lock is not waited for."""
    connection.close()
    with answers_within(10), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        assert cursor.fetchone() == ("9s", "5s")
    connection.close()


_WITHOUT = """
import django
django.setup()
from django.test import Client
client = Client(raise_request_exception=False)
client.cookies["sessionid"] = "x" * 32
for path in {paths}:
    answer = client.post(path, b"{{}}", content_type="application/json", headers={headers})
    print(path, answer.status_code, answer["Content-Type"].split(";")[0])
    answer = client.get(path)
    print(path, answer.status_code, answer["Content-Type"].split(";")[0])
"""


def test_without_a_database_everything_is_refused_with_503(tmp_path, admin_user):
    _, token = create_token(command_actor(), admin_user, "test")
    headers = {"Authorization": f"Bearer {token}"}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(paths=["/api/v1/jobs/", "/admin/jobs/job/"], headers=headers)],
        env={
            **os.environ,
            "DATABASE_URL": f"postgres://u@/none?host={tmp_path}",
            "SECRET_KEY": "x" * 60,
            "ALLOWED_HOSTS": "testserver",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        },
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert done.stdout.splitlines() == [
        "/api/v1/jobs/ 503 application/problem+json",
        "/api/v1/jobs/ 503 application/problem+json",
        "/admin/jobs/job/ 503 text/plain",
        "/admin/jobs/job/ 503 text/plain",
    ]


def test_workers_go_on_when_all_their_connections_are_ended(live_worker, until, ends_backends):
    worker = live_worker("default")
    for n in range(20):
        sleep.apply_async((0.1,), task_id=f"cut-{n}")
    for wanted in (2, 8, 14):
        until(lambda wanted=wanted: Job.objects.filter(state=State.SUCCEEDED).count() >= wanted)
        assert ends_backends() > 0

    until(lambda: Job.objects.filter(state=State.SUCCEEDED).count() == 20, 40)
    assert worker.process.poll() is None
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


def test_a_sender_whose_connection_was_ended_sends_at_once(broker, until, caplog, ends_backends):
    for name in ("before", "after"):
        sleep.apply_async((0,), task_id=name)
        until(Job.objects.filter(pk=name, sent_at__isnull=False).exists)
        publisher.drain(60)  # it has been told of its mark, too
        assert ends_backends() > 0

    assert caplog.messages == []


@pytest.mark.long
def test_a_locked_row_is_waited_for_and_holds_up_no_other_job(live_worker, until, ended, tmp_path):
    live_worker("default", concurrency=2)
    with psycopg.connect(database_url()) as other:
        probe.gated.apply_async((str(tmp_path / "open"),), task_id="locked")
        until(Job.objects.filter(pk="locked", state=State.RUNNING).exists)
        other.execute("SELECT 1 FROM jobs_job WHERE id = 'locked' FOR UPDATE")
        (tmp_path / "open").touch()
        for n in range(4):
            sleep.apply_async((0.5,), task_id=f"free-{n}")
        for n in range(4):
            assert ended(f"free-{n}").attempt == 1
        time.sleep(LOCK_SECONDS)  # past the time after which one who waits asks anew
        assert Job.objects.get(pk="locked").state == State.RUNNING
    assert ended("locked").attempt == 1


def test_a_process_that_is_stopped_in_a_transaction_loses_its_locks():
    session = LedgerConnection(durable=True)
    assert session.use(lambda it: it.execute("SHOW idle_in_transaction_session_timeout").fetchone()) == ("15s",)
    assert session.use(lambda it: it.execute("SHOW lock_timeout").fetchone()) == ("5s",)
    session.close()


_POST = """
from django.test import Client
client = Client(raise_request_exception=False, headers={{"Authorization": "Bearer {token}"}})
for turn in range({turns}):
    answer = client.post(
        "/api/v1/jobs/",
        {{"task": "selftest.echo", "args": ["x" * {size}]}},
        content_type="application/json",
        headers={{"Idempotency-Key": {key}}},
    )
    print(answer.status_code, answer.get("Idempotent-Replayed"))
    from django.db import connection
    connection.close_if_unusable_or_obsolete()
"""


def post_from_a_process(admin_user, turns: int, **env: str) -> list[str]:
    _, token = create_token(command_actor(), admin_user, "test")
    code = _POST.format(token=token, turns=turns, size=1, key="'once'")
    return send_from_a_process(code, ALLOWED_HOSTS="testserver", SECRET_KEY="x" * 60, **env).splitlines()


@pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="needs the tests' own Postgres")
def test_a_job_whose_commit_was_not_answered_exists_once(admin_user, settings):
    """The client cannot know whether it was stored; under its key it may ask again."""
    proxy = LosesCommits(Path(settings.DATABASES["default"]["HOST"]) / ".s.PGSQL.5432")
    try:
        url = f"postgres://switchyard@127.0.0.1:{proxy.port}/{connection.settings_dict['NAME']}"
        said = post_from_a_process(admin_user, 2, DATABASE_URL=url)
    finally:
        proxy.close()

    assert proxy.lost == 1
    assert said == ["503 None", "201 true"]
    assert Job.objects.count() == 1


@pytest.fixture
def small_disk(settings) -> Iterator[str]:
    """The URL of a database on a disk of 64 MB, migrated."""
    if os.geteuid() != 0 or os.environ.get("DATABASE_URL"):
        pytest.skip("needs root, for a file system in memory, and the tests' own Postgres")
    folder = Path(tempfile.mkdtemp(prefix="switchyard-small-"))
    folder.chmod(0o755)
    owner = (settings.DATA_DIR / "pg").stat()
    options = f"size=64m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("may not mount a file system in memory")
    server = f"postgres://switchyard@/postgres?host={settings.DATABASES['default']['HOST']}"
    with psycopg.connect(server, autocommit=True) as admin:
        try:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            admin.execute("CREATE DATABASE small TABLESPACE small")
            url = server.replace("/postgres?", "/small?")
            send_from_a_process(
                "from django.core.management import call_command; call_command('migrate', verbosity=0)",
                DATABASE_URL=url,
                SECRET_KEY="x" * 60,
            )
            # The files of a new database have holes: what Postgres writes there later would find the disk full.
            admin.execute("CHECKPOINT")
            yield url
        finally:
            # After a failure it may be full: nothing could be dropped then.
            subprocess.run(["mount", "-o", "remount,size=256m", folder], check=True)
            admin.execute("DROP DATABASE IF EXISTS small WITH (FORCE)")
            admin.execute("DROP TABLESPACE IF EXISTS small")
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()


@pytest.mark.long
def test_a_full_disk_is_a_clean_503_and_then_all_goes_on(small_disk):
    """Needs root."""
    code = """
    from django.contrib.auth.models import User
    from jobs.operators.actors import command_actor
    from jobs.operators.tokens import create_token
    user = User.objects.create_superuser("root")
    print(create_token(command_actor(), user, "test")[1])
    """
    env = {"DATABASE_URL": small_disk, "SECRET_KEY": "x" * 60, "ALLOWED_HOSTS": "testserver"}
    token = send_from_a_process(code, **env).strip()

    def post(turns: int, size: int) -> str:
        code = _POST.format(token=token, turns=turns, size=size, key="f'key-{turn}'")
        return send_from_a_process(code, **env)

    with psycopg.connect(small_disk, autocommit=True) as filler:
        filler.execute("CREATE TABLE filler (x text STORAGE EXTERNAL)")
        size = 8_000_000
        while size > 1000:
            try:
                filler.execute("INSERT INTO filler VALUES (repeat('x', %s))", [size])
            except psycopg.errors.DiskFull:
                size //= 2
        said = post(40, 500_000)
        assert "503" in said
        assert "500" not in said
        filler.execute("DROP TABLE filler")
    assert "503" not in post(40, 1000).splitlines()[-1]


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that the test may break, migrated."""
    data = Path(tempfile.mkdtemp(prefix="switchyard-pg-"))
    data.chmod(0o755)
    server = Postgres(data, data / "s", throwaway=True)
    try:
        server.run(subprocess.DEVNULL)
        send_from_a_process(
            "from django.core.management import call_command; call_command('migrate', verbosity=0)",
            **of(server),
        )
        yield server
    finally:
        server.stop()
        shutil.rmtree(data, ignore_errors=True)


def of(server: Postgres) -> dict[str, str]:
    return {
        "DATABASE_URL": f"postgres://switchyard@/switchyard?host={server.socket_folder}",
        "SECRET_KEY": "x" * 60,
    }


def immediate(server: Postgres) -> None:
    for _ in range(3):
        assert server.process is not None
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait()
        server.run(subprocess.DEVNULL)
        time.sleep(2)


def long_away(server: Postgres) -> None:
    server.stop()
    time.sleep(20)
    server.run(subprocess.DEVNULL)


def hung(server: Postgres) -> None:
    assert server.process is not None
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    time.sleep(15)
    for process in family:
        process.resume()


@pytest.mark.long
@pytest.mark.parametrize("fault", [immediate, long_away, hung])
def test_workers_wait_for_postgres_and_lose_nothing(fault, own_postgres, live_worker, until):
    worker = live_worker("default", **of(own_postgres))
    code = "for n in range(15):\n    tasks.sleep.apply_async((0.4,), task_id=f'{}-{{n}}')"
    send_from_a_process(code.format("before"), **of(own_postgres))

    fault(own_postgres)
    send_from_a_process(code.format("after"), **of(own_postgres))

    def states() -> list[tuple[str, int]]:
        with psycopg.connect(of(own_postgres)["DATABASE_URL"]) as session:
            return session.execute("SELECT state, count(*) FROM jobs_job GROUP BY 1").fetchall()

    until(lambda: states() == [("succeeded", 30)], 60)
    assert worker.process.poll() is None
