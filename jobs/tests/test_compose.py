"""The containers, without a container engine: the files' form, and each command and health check as a process."""

import base64
import http.client
import json
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import jsonschema
import psycopg
import pytest
from django.conf import settings
from django.db import connection

from jobs.lanes import LANES
from jobs.stack.binaries import postgres_programs, valkey_program
from jobs.tests.composed import ROOT, SECRETS, Composed, Running, instructions, load, services
from jobs.tests.live import database_url
from jobs.tests.test_environment import documented

SERVERS = {"postgres", "redis"}
#: Against waiting for ever, not a measure.
GUARD_SECONDS = 180
every_service = pytest.mark.parametrize("name", sorted(services()))


def compose_schema() -> dict[str, Any]:
    """The Compose specification's own schema, as packed with check-jsonschema."""
    return json.loads((files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text())


def lanes_of(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return command[3:] if command[1:3] == ["manage.py", "worker"] else []


# --- The compose file's form ---------------------------------------------------------------------------------------


def test_the_file_follows_the_compose_schema():
    jsonschema.validate(load(), compose_schema())


def test_the_schema_would_notice_a_mistake():
    wrong = load()
    wrong["services"]["web"]["helthcheck"] = {}

    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.validate(wrong, compose_schema())


@pytest.mark.parametrize("secret", SECRETS)
def test_it_does_not_start_without_its_secrets(secret: str):
    with pytest.raises(LookupError, match=secret):
        services(**{secret: ""})


def test_each_lane_has_a_worker_service_and_there_are_two_beats():
    lanes = [lane for service in services().values() for lane in lanes_of(service)]
    beats = [service for service in services().values() if "beat" in service.get("command", [])]

    assert sorted(lanes) == sorted(LANES)
    assert [service["deploy"]["replicas"] for service in beats] == [2]


@every_service
def test_a_service_is_hardened(name: str):
    service = services()[name]

    assert service["user"] not in {"root", "0", "0:0"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert "privileged" not in service


@every_service
def test_a_service_restarts_and_has_a_health_check_unless_it_runs_once(name: str):
    service = services()[name]

    assert service["restart"] == ("on-failure:5" if name == "migrate" else "unless-stopped")
    assert ("healthcheck" in service) == (name != "migrate")


@every_service
def test_a_service_publishes_on_loopback_only(name: str):
    assert all(port.startswith("127.0.0.1:") for port in services()[name].get("ports", []))


def test_the_servers_are_out_of_reach_from_outside():
    assert load()["networks"]["inside"]["internal"] is True
    assert {tuple(services()[name]["networks"]) for name in SERVERS} == {("inside",)}


def test_everything_waits_for_the_servers_and_the_migrations():
    for name, service in services().items():
        if name not in SERVERS | {"migrate"}:
            assert {needed: how["condition"] for needed, how in service["depends_on"].items()} == {
                "migrate": "service_completed_successfully",
                "postgres": "service_healthy",
                "redis": "service_healthy",
            }


def test_a_stopped_worker_has_the_time_to_drain_and_to_hand_back():
    for service in services().values():
        if lanes_of(service):
            assert int(service["stop_grace_period"].removesuffix("s")) > settings.JOBS["DRAIN_SECONDS"] + 30


def test_every_documented_setting_reaches_the_containers():
    fixed = {"DATA", "SWITCHYARD_ENV_FILE", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "SWITCHYARD_ADMIN_PASSWORD"}
    file = (ROOT / "docker-compose.yml").read_text()
    # Benchmarks are run from a checkout.
    fixed |= {"BENCH_REPOSITORIES"}

    assert {name for name in documented() if f"${{{name}:" not in file} == fixed


def test_a_service_gets_no_secret_that_it_does_not_need():
    environments = {name: services()[name].get("environment", {}) for name in services()}

    assert "GITHUB_TOKEN" not in environments["flower"]
    assert [name for name, values in environments.items() if "FLOWER_BASIC_AUTH" in values] == ["flower"]
    assert [name for name, values in environments.items() if "POSTGRES_PASSWORD" in values] == ["postgres"]


# --- The image -----------------------------------------------------------------------------------------------------


def test_the_dockerfile_passes_its_linter():
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_an_account_without_rights():
    assert [rest for word, rest in instructions() if word == "USER"][-1] == "10001:10001"


def test_every_file_that_is_copied_exists():
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]

    assert copied
    assert [source for sources in copied for source in sources if not (ROOT / source).exists()] == []


def test_secrets_and_data_stay_out_of_the_image():
    ignored = set((ROOT / ".dockerignore").read_text().split())

    assert {".env", ".env.*", ".data", ".git", ".venv"} <= ignored
    assert not [rest for word, rest in instructions() if word in {"ENV", "ARG"} and "SECRET" in rest]


def test_every_base_image_has_a_version():
    images = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    images += [services()[name]["image"] for name in SERVERS]

    assert [image for image in images if image.rpartition(":")[2] in {"", "latest"} or ":" not in image] == []


# --- Health checks -------------------------------------------------------------------------------------------------


@pytest.fixture
def report(transactional_db: None) -> Callable[..., None]:
    """Write a heartbeat: `report("default@here", age=5, host="here", stopped=False)`."""

    def write(name: str, *, age: int = 0, host: str = socket.gethostname(), stopped: bool = False) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO jobs_worker (name, host, pid, queues, children, version, started_at, heartbeat_at,
                                         stopped_at)
                VALUES (%s, %s, 1, '[]', 0, '', now(), clock_timestamp() - make_interval(secs => %s),
                        CASE WHEN %s THEN now() END)
                """,
                [name, host, age, stopped],
            )

    return write


def probe(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "deploy/healthcheck.py", *arguments],
        cwd=ROOT,
        env={"DATABASE_URL": database_url(), **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_a_worker_with_a_fresh_heartbeat_is_healthy(report: Callable[..., None]):
    report("default@here", age=300, stopped=True)
    report("default@again", age=5)

    assert probe("worker", "default").returncode == 0


@pytest.mark.parametrize(
    ("heartbeat", "why"),
    [
        ({"age": 1200}, "the last heartbeat is 12"),  # and a few seconds, as many as this took
        ({"stopped": True}, "no default@"),
        ({"host": "elsewhere"}, "no default@"),
        ({"name": "fast_lane@here"}, "no default@"),
    ],
    ids=["stale", "stopped", "another host's", "another lane's"],
)
def test_a_worker_without_a_fresh_heartbeat_is_not(report: Callable[..., None], heartbeat: dict[str, Any], why: str):
    report(**{"name": "default@here", **heartbeat})

    done = probe("worker", "default")

    assert done.returncode == 1
    assert why in done.stderr


def test_a_beat_is_told_by_its_own_heartbeat(report: Callable[..., None]):
    report("default@here")
    assert probe("beat").returncode == 1

    report("beat-7@here")
    assert probe("beat").returncode == 0


def test_nothing_is_healthy_when_its_server_is_away_and_no_password_is_shown():
    done = probe("beat", DATABASE_URL="postgres://switchyard:hunter2@127.0.0.1:1/switchyard")

    assert done.returncode == 1
    assert "Postgres does not answer" in done.stderr
    assert "hunter2" not in done.stderr
    assert probe("web", WEB_BIND="127.0.0.1:1").returncode == 1
    assert probe("flower", FLOWER_PORT="1").returncode == 1
    assert probe("unknown").returncode == 1


# --- Each service as a process -------------------------------------------------------------------------------------


@pytest.fixture
def own_database(transactional_db: None) -> Iterator[str]:
    """The URL of an empty database."""
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS composed WITH (FORCE)")
        cursor.execute("CREATE DATABASE composed")
    yield urlunsplit(urlsplit(database_url())._replace(path="/composed"))
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE composed WITH (FORCE)")


@pytest.fixture
def composed(own_database: str, tmp_path: Path) -> Composed:
    """The servers' addresses and the ports of this machine, and stand-ins for the programs of Redis' image."""
    ports = free_ports(3)
    (tmp_path / "redis-server").symlink_to(valkey_program())
    (tmp_path / "pg_isready").symlink_to(postgres_programs() / "pg_isready")
    client = tmp_path / "redis-cli"
    client.write_text(
        textwrap.dedent(f"""\
            #!{sys.executable}
            import os, sys, redis
            client = redis.Redis(port={ports[0]}, password=os.environ["REDISCLI_AUTH"])
            print("PONG" if client.execute_command(*sys.argv[1:]) else "")
            """)
    )
    client.chmod(0o700)
    return Composed(
        tmp_path,
        {
            "DATABASE_URL": own_database,
            "REDIS_URL": f"redis://:{SECRETS['REDIS_PASSWORD']}@127.0.0.1:{ports[0]}/0",
            "REDIS_PORT": str(ports[0]),
            "WEB_BIND": f"127.0.0.1:{ports[1]}",
            "FLOWER_ADDRESS": "127.0.0.1",
            "FLOWER_PORT": str(ports[2]),
            "PGHOST": connection.settings_dict["HOST"],
        },
    )


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def get(url: str, user: str = "") -> Any:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def start_redis(composed: Composed) -> Running:
    more = ["--bind", "127.0.0.1", "--port", composed.environment["REDIS_PORT"], "--dir", str(composed.folder)]
    redis = composed.start("redis", services()["redis"], *more)
    redis.wait_healthy()
    return redis


def migrate(composed: Composed) -> None:
    service = services()["migrate"]
    done = composed.run(service, service["command"])
    assert done.returncode == 0, done.stderr


def test_the_postgres_health_check_asks_the_server(composed: Composed):
    service = services()["postgres"]
    check = service["healthcheck"]["test"][1:]
    # While the image initialises a fresh volume, a server of its own answers on the socket, and on that alone. The
    # tests' server is the other way round.
    assert "--host=127.0.0.1" in check
    check.remove("--host=127.0.0.1")

    assert composed.run(service, check).returncode == 0
    composed.environment["PGHOST"] = str(composed.folder)
    assert composed.run(service, check).returncode != 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_all_services_run_in_order_become_healthy_do_a_job_and_stop(composed: Composed):
    redis = start_redis(composed)
    migrate(composed)
    running = [
        composed.start(f"{name}-{number}", service)
        for name, service in services().items()
        if name not in SERVERS | {"migrate", "prometheus"}
        for number in range(service.get("deploy", {}).get("replicas", 1))
    ]
    try:
        for each in running:
            each.wait_healthy()
        job_id = send(composed)
        wait_for_success(composed, job_id)
        check_flower(composed, job_id)
        check_beats(composed)
        codes = {each.name: each.stop() for each in running}
        assert codes == dict.fromkeys(codes, 0), "\n".join(each.tail() for each in running if codes[each.name])
        assert [each.name for each in running if each.probe().returncode == 0] == []
        assert redis.stop() == 0
    finally:
        for each in [*running, redis]:
            each.process.kill()
            each.process.wait()


def send(composed: Composed) -> str:
    code = "import django; django.setup(); from celery import current_app as app; import config\n"
    code += "print(app.send_task('selftest.echo', kwargs={'value': 'composed'}).id)"
    done = composed.run(services()["web"], ["python", "-c", code])
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def wait_for_success(composed: Composed, job_id: str) -> None:
    deadline = time.monotonic() + GUARD_SECONDS
    with psycopg.connect(composed.environment["DATABASE_URL"], autocommit=True) as database:
        while (state := database.execute("SELECT state FROM jobs_job WHERE id = %s", [job_id]).fetchone()) != (
            "succeeded",
        ):
            assert time.monotonic() < deadline, f"the job is {state}"
            time.sleep(0.1)


def check_flower(composed: Composed, job_id: str) -> None:
    """Flower shows the job with the time it was sent, and every worker answers its remote control."""
    base = f"http://127.0.0.1:{composed.environment['FLOWER_PORT']}"
    user = SECRETS["FLOWER_BASIC_AUTH"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(f"{base}/api/tasks")
    deadline = time.monotonic() + GUARD_SECONDS
    while not (seen := get(f"{base}/api/tasks", user).get(job_id)) or seen["state"] != "SUCCESS":
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    assert seen["name"] == "selftest.echo"
    assert seen["sent"]
    # It asks workers and gives them a second; one that is busy answers the next time.
    while not all(worker.get("active_queues") for worker in get(f"{base}/api/workers?refresh=1", user).values()):
        assert time.monotonic() < deadline, "a worker does not answer"
    workers = get(f"{base}/api/workers", user)
    assert sorted(name.partition("@")[0] for name in workers) == sorted(LANES)


def check_beats(composed: Composed) -> None:
    with psycopg.connect(composed.environment["DATABASE_URL"]) as database:
        alive = "SELECT count(*) FROM jobs_worker WHERE name LIKE 'beat-%' AND stopped_at IS NULL"
        assert database.execute(alive).fetchone() == (2,)


@pytest.mark.long
def test_the_web_service_serves_what_the_image_collected(composed: Composed):
    redis = start_redis(composed)
    migrate(composed)
    service = services()["web"]
    collect = next(rest for word, rest in instructions() if "collectstatic" in rest).partition("&&")[0]
    assert composed.run(service, ["sh", "-c", collect]).returncode == 0
    web = composed.start("web", service)
    try:
        web.wait_healthy()
        host, port = composed.environment["WEB_BIND"].split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=20)
        client.request("GET", "/admin/login/", headers={"Host": "localhost"})
        page = client.getresponse()
        assert page.status == 200, web.tail()
        assert b"/static/" in page.read()
        redis.process.kill()
        redis.process.wait()
        assert web.probe().returncode == 1
        assert web.stop() == 0
    finally:
        for each in (web, redis):
            each.process.kill()
            each.process.wait()


def test_what_the_dockerfile_starts_is_what_compose_starts():
    assert json.loads(next(rest for word, rest in instructions() if word == "CMD")) == services()["web"]["command"]
