"""`manage.py drill`: its parts one by one, and its short form over a whole system."""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.drill.faults.schedules import check_ticks
from jobs.drill.registry import Fault, Scene, faults
from jobs.drill.report import FaultReport
from jobs.drill.runner import Drill, Load, plan
from jobs.drill.system import System
from jobs.drill.verdict import Facts, Row, Sent, Verdict, judge
from jobs.models import ScheduleTick
from jobs.tests.factories import make_job
from jobs.tests.live import database_url
from jobs.tests.stacks import PROJECT, environment

#: Guards against waiting for ever, not measures.
GUARD_SECONDS = 60
KEYS = {"fault", "sent", "finished", "lost", "run_twice", "effects_doubled", "recovered_s"}


def drill(*arguments: str) -> str:
    out = StringIO()
    call_command("drill", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


# --- the command ----------------------------------------------------------------------------------------------------


def test_every_row_of_the_catalogue_has_a_fault() -> None:
    listed = json.loads(drill("--list", "--json"))

    assert {fault["row"] for fault in listed} == set(range(1, 29))
    assert all(fault["summary"] for fault in listed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such"], "unknown fault 'no-such'; choose from: all, mixed, worker-kill"),
        (["--faults", "0"], "--faults is 0"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        drill(*arguments)

    assert caught.value.returncode == 2


def test_a_row_has_the_keys_that_others_rely_on() -> None:
    row = FaultReport("worker-kill", "seed").as_json()

    assert set(row) >= KEYS
    assert row["holds"]


@pytest.mark.parametrize("what", ["lost", "twice", "doubled", "ghosts", "stuck", "missing_effects"])
def test_one_of_anything_that_must_not_be_breaks_a_row(what: str) -> None:
    report = FaultReport("worker-kill", "seed")
    getattr(report.verdict, what).append("some-id")

    assert not report.holds


# --- the plan -------------------------------------------------------------------------------------------------------


def some_faults(count: int) -> list[Fault]:
    return [Fault(f"fault-{i}", "", i, lambda scene: None, i % 3 + 1, lambda: None) for i in range(count)]


def test_a_seed_replays_the_same_faults_at_the_same_moments() -> None:
    kinds = some_faults(9)

    assert plan("a", kinds, 60, 100) == plan("a", kinds, 60, 100)
    assert plan("a", kinds, 60, 100) != plan("b", kinds, 60, 100)


def test_every_kind_is_drawn_if_there_is_room() -> None:
    moments = plan("a", some_faults(9), 60, 100)

    assert {moment.fault.name for moment in moments} == {f"fault-{i}" for i in range(9)}
    assert len(moments) == 60
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)
    assert all(0 <= moment.at <= 100 for moment in moments)


def test_what_cannot_be_injected_here_or_not_among_others_is_not_drawn() -> None:
    missing = Fault("missing", "", 1, lambda scene: None, 1, lambda: "no root")
    alone = Fault("alone", "", 1, lambda scene: None, 0, lambda: None)

    assert {moment.fault.name for moment in plan("a", [missing, alone, *some_faults(2)], 20, 10)} == {
        "fault-0",
        "fault-1",
    }


# --- the verdict ----------------------------------------------------------------------------------------------------


def row(job_id: str, state: str = "succeeded", **more: Any) -> Row:
    values = {"task": "drill.part", "created_at": 1.0, "finished_at": 2.0, "error": "", "key": None, "origin": "code"}
    return Row(**{"id": job_id, "state": state, **values, "note": "", "starts": [1.5], "successes": 1, **more})


def sent(*ids: str, kind: str = "echo", state: str = "committed", key: str | None = None) -> Sent:
    return Sent(1.0, kind, state, list(ids), key, 0.01)


def verdict(
    sends: list[Sent], rows: list[Row], calls: dict[str, int] | None = None, stuck: frozenset[str] = frozenset()
) -> Verdict:
    return judge(Facts(sends, {found.id: found for found in rows}, Counter(calls or {}), set(stuck)))


def test_a_committed_job_that_is_nowhere_is_lost() -> None:
    found = verdict([sent("a"), sent("b")], [row("a")])

    assert (found.sent, found.finished, found.lost) == (2, 1, ["b"])
    assert not found.holds


def test_a_job_that_never_ended_is_lost_and_stuck() -> None:
    found = verdict([sent("a")], [row("a", "running", finished_at=None)], stuck=frozenset({"a"}))

    assert (found.lost, found.stuck) == (["a"], ["a"])


def test_a_send_that_did_not_commit_or_may_not_have_is_not_owed() -> None:
    assert verdict([sent("a", state="refused"), sent("b", state="unknown")], []).holds


def test_two_successes_of_a_job_are_one_too_many() -> None:
    assert verdict([sent("a")], [row("a", successes=2)]).twice == ["a"]


def effect(job_id: str, state: str = "succeeded", error: str = "") -> Row:
    return row(job_id, state, task="selftest.effect", key=job_id, error=error)


def test_a_key_that_the_far_side_saw_twice_is_doubled() -> None:
    assert verdict([sent("k", key="k")], [effect("k")], {"k": 2}).doubled == ["k"]


def test_a_key_without_a_job_is_a_ghost() -> None:
    assert verdict([], [], {"k": 1}).ghosts == ["k"]


def test_an_effect_that_succeeded_and_never_came_is_missing() -> None:
    assert verdict([sent("k", key="k")], [effect("k")], {}).missing_effects == ["k"]


def test_an_uncertain_effect_is_listed_and_breaks_nothing() -> None:
    found = verdict([sent("k", key="k")], [effect("k", "failed", "EffectUncertain: nobody knows")], {"k": 1})

    assert found.holds
    assert found.uncertain == ["k"]


def test_a_failure_that_no_policy_asked_for_breaks_the_row() -> None:
    found = verdict([sent("a")], [row("a", "failed", error="TypeError: odd", successes=0)])

    assert found.unexplained == {"a": "TypeError: odd"}
    assert not found.holds


@pytest.mark.parametrize(("state", "lost"), [("succeeded", ["c"]), ("failed", [])])
def test_a_step_of_a_chain_is_owed_once_the_one_before_has_succeeded(state: str, lost: list[str]) -> None:
    assert verdict([sent("a", "b", "c", kind="chain")], [row("a"), row("b", state)]).lost == lost


@pytest.mark.parametrize(("state", "lost"), [("succeeded", ["body"]), ("failed", [])])
def test_a_chords_body_is_owed_once_all_its_members_have_succeeded(state: str, lost: list[str]) -> None:
    assert verdict([sent("a", "b", "body", kind="chord")], [row("a"), row("b", state)]).lost == lost


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("detail", "wrong"), [("", 1), ("an unfinished job with the same key took it in", 0)])
def test_a_job_of_two_ticks_is_wrong_unless_it_took_the_second_in(detail: str, wrong: int) -> None:
    each_minute = IntervalSchedule.objects.create(every=1, period="minutes")
    schedule = PeriodicTask.objects.create(name="each minute", task="selftest.echo", interval=each_minute)
    job, now = make_job(), timezone.now()
    for minute, text in ((2, ""), (1, detail)):
        due_at = now - timedelta(minutes=minute)
        values = {"due_at": due_at, "at": now, "outcome": "sent", "job_id": job.pk, "detail": text}
        ScheduleTick.objects.create(schedule=schedule, **values)

    with psycopg.connect(database_url(), autocommit=True) as own:
        assert len(check_ticks(own, 0)) == wrong


# --- the far side and the proxy, as they run ------------------------------------------------------------------------


@pytest.fixture
def talking() -> Iterator[Callable[..., Any]]:
    """`talking(module, *arguments)`: start `python -m jobs.drill.MODULE`; returns the process and its first line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str) -> tuple["subprocess.Popen[bytes]", str]:
        command = [sys.executable, "-m", f"jobs.drill.{module}", *arguments]
        process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return process, process.stdout.readline().decode()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_judge_logs_each_call_and_knows_its_keys(talking: Callable[..., Any], tmp_path: Path) -> None:
    _, port = talking("judge", str(tmp_path / "log"))
    url = f"http://127.0.0.1:{int(port)}/effect"

    for key in ("a", "b", "a"):
        urllib.request.urlopen(url, json.dumps({"key": key}).encode()).close()

    assert [json.loads(line)["key"] for line in (tmp_path / "log").read_text().splitlines()] == ["a", "b", "a"]
    assert urllib.request.urlopen(f"{url}?key=b").status == 200
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}?key=c")


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Path]:
    """A Unix socket that answers what it is told, in capitals."""
    path = tmp_path / "echo.sock"

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(1000):
                self.request.sendall(data.upper())

    with socketserver.ThreadingUnixStreamServer(str(path), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield path
        server.shutdown()


@pytest.fixture
def proxied(talking: Callable[..., Any], echo: Path) -> Iterator[tuple[socket.socket, Callable[[str], None]]]:
    process, ports = talking("proxy", f"it={echo}")
    client = socket.create_connection(("127.0.0.1", json.loads(ports)["it"]), timeout=GUARD_SECONDS)

    def order(text: str) -> None:
        process.stdin.write(f"it {text}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"

    yield client, order
    client.close()


def test_the_proxy_passes_on_holds_back_and_resets(proxied: tuple[socket.socket, Callable[[str], None]]) -> None:
    client, order = proxied
    client.sendall(b"one")
    assert client.recv(100) == b"ONE"

    order("stall")
    client.sendall(b"two")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(100)

    order("reset")
    client.settimeout(GUARD_SECONDS)
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_the_proxy_loses_the_answer_to_a_commit(proxied: tuple[socket.socket, Callable[[str], None]]) -> None:
    client, order = proxied
    order("lose 1")
    client.sendall(b"BEGIN")
    assert client.recv(100) == b"BEGIN"

    client.sendall(b"COMMIT")
    with pytest.raises(ConnectionResetError):
        client.recv(100)


# --- a whole system -------------------------------------------------------------------------------------------------


def run_drill(data: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "drill", *arguments],
        cwd=PROJECT,
        env=environment(data),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A background process of a shell has it ignored, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def judged(data: Path, *arguments: str) -> list[dict[str, Any]]:
    """The rows of a drill; fails, showing what it said, unless it held."""
    process = run_drill(data, *arguments, "--json")
    out, said = process.communicate()
    assert process.returncode == 0, f"{said}\n{out}"
    return json.loads(out)


def assert_nothing_lost(rows: list[dict[str, Any]]) -> None:
    for found in rows:
        counts = {name: found[name] for name in ("lost", "run_twice", "effects_doubled", "ghost", "stuck")}
        assert not any(counts.values()), found
        assert found["finished"] == found["sent"]


@pytest.mark.timeout(900)
def test_sixty_overlapping_faults_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    rows = judged(tmp_path, "--short")

    assert rows[-1]["fault"] == "mixed"
    assert rows[-1]["injected"] > 50  # a few come while another fault is in their way
    assert rows[-1]["sent"] > 500
    assert_nothing_lost(rows)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_kind_of_fault_loses_anything_or_does_anything_twice(tmp_path: Path) -> None:
    rows = judged(tmp_path, "all")

    assert [found["fault"] for found in rows] == [fault.name for fault in faults()]
    assert_nothing_lost(rows)


def sabotage(scene: Scene) -> None:
    """What no fault can do to a sound system: a job vanishes, an effect is repeated, another nobody ordered."""
    done: list[tuple[Any, ...]] = []
    while not done:
        done = scene.rows(
            "SELECT kwargs->>'key' FROM jobs_job WHERE task = 'selftest.effect' AND state = 'succeeded' LIMIT 1"
        )
    for key in (done[0][0], "nobody's"):
        urllib.request.urlopen(scene.system.judge_url, json.dumps({"key": key}).encode()).close()
    vanished: list[tuple[Any, ...]] = []
    while not vanished:
        vanished = scene.rows(
            "DELETE FROM jobs_job WHERE id = (SELECT id FROM jobs_job WHERE task = 'drill.part' AND group_id IS NULL "
            "AND root_id = id AND embed = '{}' AND state = 'succeeded' LIMIT 1) RETURNING id"
        )


@pytest.mark.long
def test_what_is_lost_or_doubled_is_found() -> None:
    with System() as system:
        drill = Drill(system, "sabotage", load=Load(), long=False, say=lambda text: None)
        report = drill.one(Fault("sabotage", "", 0, sabotage, 0, lambda: None))

    assert len(report.verdict.lost) == 1
    assert len(report.verdict.doubled) == 1
    assert report.verdict.ghosts == ["nobody's"]
    assert not report.holds


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_drill_that_is_stopped_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    process = run_drill(tmp_path, "worker-kill", "--seed", "stopped")
    for line in process.stderr:
        if line.startswith("worker-kill:"):
            break
    time.sleep(1)
    seen = psutil.Process(process.pid).children(recursive=True)
    assert len(seen) > 10
    folder = next(Path(child.environ()["DATA"]) for child in seen if child.name().startswith("python"))
    assert "switchyard-drill" in folder.name
    assert folder.exists()

    os.kill(process.pid, number)
    process.communicate()

    _, alive = psutil.wait_procs(seen, GUARD_SECONDS)
    assert not alive
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert not folder.exists()
