import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from django.conf import settings
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]

from jobs.health import HealthMiddleware
from jobs.stack import servers
from jobs.stack.account import can_reach
from jobs.stack.errors import StackError
from jobs.stack.output import Log
from jobs.stack.program import ForkedProgram
from jobs.stack.servers import make_private_folder
from jobs.stack.web import WebServer, bind


def test_an_address_may_be_as_long_as_gunicorn_allows():
    line = b"GET /api/v1/search/?q=" + b"x" * 8_000 + b" HTTP/1.1"
    deployed = Config()
    for name, value in runpy.run_path(str(settings.BASE_DIR / "deploy" / "gunicorn.conf.py")).items():
        if name in deployed.settings:
            deployed.set(name, value)
    with bind(0) as listener:
        for config in (deployed, WebServer(listener, lambda what: None).cfg):
            request = next(RequestParser(config, iter([line + b"\r\nHost: a\r\n\r\n"]), ("127.0.0.1", 1)))
            assert len(request.query) == 8_002


def test_every_line_carries_its_process_name(capsys):
    log = Log(["web", "embedding"])
    log.feed("web", b"first\nsec")
    log.feed("embedding", b"Traceback:\n  File x\n")
    log.feed("web", b"ond\nthird")
    log.finish("web")

    lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "web       | first",
        "embedding | Traceback:",
        "embedding |   File x",
        "web       | second",
        "web       | third",
    ]


def test_there_are_no_colours_outside_a_terminal(capsys):
    Log(["web"]).line("web", "hello")

    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_follow_the_terminal_and_no_color(monkeypatch, environment, coloured):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert bool(Log(["web"], environment).colours) is coloured


def test_the_pause_before_a_restart_doubles_up_to_eight_seconds():
    program = ForkedProgram("web", lambda tell: 0)
    program.started_at = float("inf")

    assert [program.plan_restart() for _ in range(7)] == [1, 2, 4, 8, 8, 8, 8]


def test_the_pause_starts_anew_after_a_minute_alive():
    program = ForkedProgram("web", lambda tell: 0)
    program.started_at = float("inf")
    program.plan_restart()
    program.plan_restart()

    program.started_at = float("-inf")

    assert program.plan_restart() == 1


def test_a_socket_folder_open_to_others_is_refused(tmp_path):
    folder = tmp_path / "sockets" / "pg"
    make_private_folder(folder)
    make_private_folder(folder)
    folder.chmod(0o755)

    with pytest.raises(StackError, match="mode 0700"):
        make_private_folder(folder)


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "sockets").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StackError, match="another account"):
        make_private_folder(tmp_path / "sockets" / "pg")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_socket_folder_of_another_account_is_refused(tmp_path):
    (tmp_path / "sockets").mkdir(mode=0o700)
    os.chown(tmp_path / "sockets", 65534, 65534)

    with pytest.raises(StackError, match="another account"):
        make_private_folder(tmp_path / "sockets" / "pg")


def test_a_folder_under_a_closed_one_is_out_of_reach(tmp_path: Path):
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)

    assert not can_reach(closed / "inside")


def unreachable(request):
    raise AssertionError("the request went on")


def test_health_is_answered_before_the_host_is_checked(rf):
    response = HealthMiddleware(unreachable)(rf.get("/healthz", HTTP_HOST="no.such.host"))

    assert response.status_code == 200


def test_health_can_only_be_read(rf):
    response = HealthMiddleware(unreachable)(rf.post("/readyz"))

    assert response.status_code == 405


@pytest.fixture
def patient(monkeypatch):
    """A busy machine's servers may take longer to answer than a probe waits."""
    monkeypatch.setattr("jobs.health.TIMEOUT_SECONDS", 60)
    monkeypatch.setattr("jobs.ledger.broker.ANSWER_SECONDS", 60.0)
    monkeypatch.setattr("jobs.ledger.broker._kept", {})


@pytest.mark.django_db(transaction=True)
def test_readiness_names_each_part(client, patient):
    response = client.get("/readyz", headers={"host": "no.such.host"})

    assert response.status_code == 200
    assert response.json() == {"status": "ready", "parts": {"database": "ok", "broker": "ok", "migrations": "ok"}}


@pytest.mark.django_db(transaction=True)
def test_a_missing_migration_is_not_ready(client, monkeypatch):
    monkeypatch.setattr("jobs.health._migrated", False)
    monkeypatch.setattr(
        "django.db.migrations.executor.MigrationExecutor.migration_plan", lambda *args: [object(), object()]
    )

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["parts"]["migrations"] == "2 to apply: run manage.py migrate"


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_is_not_ready(client, monkeypatch, tmp_path):
    elsewhere = Celery("elsewhere", broker=f"redis+socket://{tmp_path}/none.sock", set_as_current=False)
    monkeypatch.setattr("jobs.ledger.broker._kept", {})  # the connection to the other one
    monkeypatch.setattr("jobs.health.current_app", SimpleNamespace(_get_current_object=lambda: elsewhere))

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["parts"]["broker"].startswith("away")
    assert str(tmp_path) not in response.content.decode()


def test_a_server_that_an_earlier_run_left_may_end_while_it_is_looked_at(tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    pid_file = tmp_path / "valkey.pid"
    pid_file.write_text(f"{process.pid}\n")
    monkeypatch.setattr(servers, "_works_in", lambda pid, folder: True)  # it did, a moment ago

    servers.Valkey(tmp_path, tmp_path)._stop_stale(pid_file)
