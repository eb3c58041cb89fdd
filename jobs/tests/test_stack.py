"""`manage.py up` as people meet it: it starts, serves, stops, and survives what is done to it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from config.environment import socket_folder
from jobs.tests.stacks import PROJECT, STOP_SECONDS, RunningStack, environment

Start = Callable[..., RunningStack]


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder with a short path that other accounts can reach."""
    folder = Path(tempfile.mkdtemp(prefix="sy-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(socket_folder(folder / "data"), ignore_errors=True)
    shutil.rmtree(folder)


@pytest.fixture
def start(data: Path) -> Iterator[Start]:
    stacks: list[RunningStack] = []

    def start(**env: str) -> RunningStack:
        stacks.append(RunningStack(data, project=PROJECT, python=sys.executable, **env))
        return stacks[-1]

    yield start
    for stack in stacks:
        stack.end()


def manage(data: Path, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env=environment(data, **env), capture_output=True, text=True, timeout=180, check=False
    )


def state_of(data: Path, job_id: str) -> str:
    with psycopg.connect(host=str(socket_folder(data) / "pg"), user="switchyard", dbname="switchyard") as connection:
        row = connection.execute("SELECT state FROM jobs_job WHERE id = %s", [job_id]).fetchone()
    assert row is not None
    return str(row[0])


def enqueue_sleep(stack: RunningStack, seconds: int) -> str:
    code = f"from jobs.tasks import sleep; print('job', sleep.delay({seconds}, steps={seconds * 10}).id)"
    job_id = stack.run("shell", "--no-imports", "-c", code).split()[-1]
    stack.wait_for(lambda: state_of(stack.data, job_id) == "running", "the job's start")
    return job_id


def test_one_command_serves_everything_and_leaves_nothing_when_stopped(start: Start, data: Path) -> None:
    stack = start()
    stack.wait_ready()

    assert stack.get("/healthz") == (200, '{"status": "alive"}')
    assert stack.readiness() == (200, {"database": "ok", "broker": "ok", "migrations": "ok"})
    status, page = stack.get("/admin/login/")
    assert status == 200
    stylesheet = next(part for part in page.split('"') if part.startswith("/static/") and part.endswith(".css"))
    assert stack.get(stylesheet)[0] == 200
    assert "sign in as admin with the password" in stack.log()
    assert stack.listening() == ["127.0.0.1"] * 3

    second = manage(data, "up", PORT="0" + str(stack.port + 1))
    assert second.returncode == 2
    assert f"process {stack.process.pid}" in second.stderr

    assert stack.stop() == 0, stack.log()
    assert stack.leftovers() == []
    assert "Traceback" not in stack.log()


def test_a_taken_port_is_named_before_anything_starts(data: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused = manage(data, "up", PORT=str(port))

    assert refused.returncode == 2
    assert f"port {port} cannot be used" in refused.stderr
    assert "PORT" in refused.stderr
    assert not (data / "pg").exists()


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["up"], {"PORT": "eighty"}, "PORT='eighty'"),
        (["up"], {"PORT": "70000"}, "PORT='70000'"),
        (["up"], {"DEBUG": "maybe"}, "DEBUG='maybe'"),
        (["up"], {"DATABASE_URL": "mysql://somewhere/db", "SECRET_KEY": "k" * 64}, "DATABASE_URL starts with 'mysql'"),
        (["worker", "no_such_lane"], {}, "unknown lane 'no_such_lane'; choose from: fast_lane"),
        (["worker"], {}, "LANE"),
    ],
)
def test_a_wrong_value_is_named_and_ends_with_exit_code_2(
    data: Path, arguments: list[str], env: dict[str, str], said: str
) -> None:
    refused = manage(data, *arguments, **env)

    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_data_folder_that_cannot_be_written_is_named() -> None:
    refused = manage(Path("/proc/nowhere"), "up", SECRET_KEY="k" * 64)

    assert refused.returncode == 2
    assert "DATA=/proc/nowhere" in refused.stderr


@pytest.mark.long
def test_after_kill_9_of_the_supervisor_nothing_is_left_and_the_next_start_finds_its_data(
    start: Start, data: Path
) -> None:
    stack = start()
    stack.wait_ready()
    stack.send(signal.SIGKILL)
    stack.wait()
    stack.wait_for(lambda: not stack.leftovers(), "the end of all processes")

    again = start()
    again.wait_ready()
    assert "password" not in again.log()
    assert "applying" not in again.log()
    assert "collecting" not in again.log()
    assert again.stop() == 0


@pytest.mark.long
def test_what_dies_is_started_again_with_a_line_that_says_so(start: Start) -> None:
    stack = start()
    stack.wait_ready()

    for process in (stack.child("postgres"), stack.child("valkey")):
        process.send_signal(signal.SIGKILL)
    stack.wait_for_line("postgres was killed by SIGKILL; starting it again in 1 s")
    stack.wait_for_line("valkey was killed by SIGKILL; starting it again in 1 s")
    stack.wait_for(lambda: stack.readiness()[0] == 200, "the return of the servers")

    for process in stack.own("python"):
        process.send_signal(signal.SIGKILL)
    names = ("web", "beat", "fast_lane", "slow_lane", "index_lane", "embedding", "default", "deliveries")
    for name in names:
        stack.wait_for_line(f"{name} was killed by SIGKILL; starting it again in 1 s")
    stack.wait_for(lambda: stack.log().count("default@") >= 2, "the worker's return")
    stack.wait_for(lambda: _answers(stack), "the web server's return")
    assert stack.stop() == 0
    assert stack.leftovers() == []


def _answers(stack: RunningStack) -> bool:
    try:
        return stack.get("/healthz")[0] == 200
    except OSError:
        return False


@pytest.mark.long
def test_ctrl_c_lets_running_jobs_end(start: Start, data: Path) -> None:
    stack = start()
    stack.wait_ready()
    job_id = enqueue_sleep(stack, 15)

    assert stack.stop(signal.SIGINT) == 0
    assert "draining: waiting for 1 workers (default)" in stack.log()
    assert stack.leftovers() == []

    again = start()
    again.wait_ready()
    assert state_of(data, job_id) == "succeeded"
    assert again.stop() == 0


@pytest.mark.long
def test_a_second_ctrl_c_does_not_wait_for_running_jobs(start: Start) -> None:
    stack = start(DRAIN_SECONDS="600")
    stack.wait_ready()
    enqueue_sleep(stack, 600)
    stack.send(signal.SIGINT)
    stack.wait_for_line("stopping")

    stack.send(signal.SIGINT)

    assert stack.wait() == 0
    assert stack.leftovers() == []


@pytest.mark.long
@pytest.mark.parametrize("said", ["collecting static files", "starting PostgreSQL", "applying", "beat: Starting"])
def test_two_ctrl_c_in_the_middle_of_a_start_leave_nothing(start: Start, said: str) -> None:
    stack = start()
    stack.wait_for_line(said)

    stack.send(signal.SIGINT)
    stack.send(signal.SIGINT)

    stack.wait()
    assert stack.leftovers() == []
    assert "Traceback" not in stack.log()
    again = start()
    again.wait_ready()
    assert again.stop() == 0


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a folder that only root may enter")
def test_it_runs_in_a_folder_that_only_root_may_enter(start: Start, data: Path) -> None:
    data.parent.chmod(0o700)

    stack = start()
    stack.wait_ready()

    assert stack.child("postgres").username() == "nobody"
    assert stack.readiness()[0] == 200
    assert stack.stop() == 0
    assert stack.leftovers() == []


@pytest.mark.long
def test_a_pid_file_that_names_another_program_does_not_block_the_start(start: Start, data: Path) -> None:
    first = start()
    first.wait_ready()
    assert first.stop() == 0
    for name in ("pg/postmaster.pid", "valkey/valkey.pid"):
        (data / name).write_text(f"{os.getpid()}\n")

    again = start()
    again.wait_ready()
    assert again.stop() == 0


@pytest.mark.long
def test_a_broker_that_does_not_answer_shows_in_readyz(start: Start) -> None:
    stack = start()
    stack.wait_ready()
    valkey = stack.child("valkey")
    valkey.suspend()
    try:
        status, parts = stack.readiness()
    finally:
        valkey.resume()

    assert status == 503
    assert parts["broker"].startswith("away")
    assert parts["database"] == "ok"
    stack.wait_for(lambda: stack.readiness()[0] == 200, "the broker's return")
    assert stack.stop() == 0


@pytest.mark.long
def test_several_lanes_run_under_one_worker_command(start: Start, data: Path) -> None:
    stack = start()
    stack.wait_ready()
    command = [sys.executable, str(PROJECT / "manage.py"), "worker", "default", "fast_lane"]
    worker = subprocess.Popen(command, cwd=PROJECT, env=environment(data), stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    try:
        for line in worker.stdout:
            if "switchyard" in line and "| ready" in line:
                break
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0
    finally:
        worker.kill()
    assert stack.stop() == 0
