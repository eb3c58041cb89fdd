"""What is limited by its rate: counted by all processes together, and by each alone while Redis is no help."""

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs import rates
from jobs.rates import Rate, RateCache, redis_url
from jobs.stack.servers import Valkey
from jobs.tests.live import database_url

Using = Callable[[str], None]
PREFIX = "switchyard:rates:"
A_DAY = Rate("test", 5, 86_400)


@pytest.fixture
def using(settings: Any) -> Using:
    """`using(url)`: count there, as a process does that has just begun."""

    def use(broker: str) -> None:
        rates._server.cache_clear()
        settings.CACHES = {**settings.CACHES, "rates": {**settings.CACHES["rates"], "LOCATION": broker}}
        cache().near.clear()

    return use


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that hangs is not waited for as long as tests wait, and is left alone for the rest of the test."""
    monkeypatch.setattr(rates, "ANSWER_SECONDS", 0.15)
    monkeypatch.setattr(rates, "PAUSE_SECONDS", 3600.0)


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One of the test's own, which it may break."""
    data = tmp_path_factory.mktemp("v")
    server = Valkey(data, data / "s", throwaway=True)
    server.run(subprocess.DEVNULL)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.process.send_signal(signal.SIGCONT)
    server.stop()


@pytest.fixture
def client(valkey: Valkey, using: Using) -> Iterator["redis.Redis[bytes]"]:
    """Counts go to that Valkey, which this client looks into."""
    using(url_of(valkey))
    with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
        yield client


def cache() -> RateCache:
    found = caches["rates"]
    assert isinstance(found, RateCache)
    return found


def url_of(server: Valkey) -> str:
    return f"redis+socket://{server.socket}"


def kill(server: Valkey) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()


def taken(times: int, rate: Rate = A_DAY) -> int:
    """How many of so many tries were let through."""
    return sum(rate.take("anna") == 0 for _ in range(times))


# --- Together ---------------------------------------------------------------------------------------------------------

_GUESS = """
import json, sys
import django
from django.conf import settings
from jobs import rates
rates.ANSWER_SECONDS = 120
settings.ALLOWED_HOSTS = ["testserver"]
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
django.setup()
from django.test import Client
guess = lambda number: Client(HTTP_AUTHORIZATION=f"Bearer swy_{number:043}").get("/api/v1/jobs/").status_code
login = lambda: Client().post("/admin/login/", {"username": "anna", "password": "wrong"}).status_code
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([[guess(number) for number in range(15)], [login() for _ in range(7)]]))
"""


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_processes_share_a_limit_of_the_api_and_of_the_login():
    env = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _GUESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
        )
        for _ in range(2)
    ]

    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in processes]

    guesses, logins = ([code for answer in answers for code in answer[which]] for which in (0, 1))
    assert (guesses.count(401), guesses.count(429)) == (20, 10)
    # A password is looked at before its failure is counted, so two at once may both be let through.
    assert logins.count(200) in (10, 11)
    assert logins.count(429) == 14 - logins.count(200)


def test_no_more_than_the_limit_is_let_through_however_many_ask_at_once(client):
    barrier = threading.Barrier(8)

    def several(_: int) -> int:
        barrier.wait()
        return taken(4)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(several, range(8))) <= A_DAY.most
    assert taken(A_DAY.most) == 0 or A_DAY.wait("anna") == 0


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 4))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_within_any_stretch_of_time_no_more_than_the_limit_is_let_through(monkeypatch, using, pauses, most):
    using("amqp://nobody")
    clock = SimpleNamespace(now=1_000_000.0)
    clock.time = clock.monotonic = lambda: clock.now
    monkeypatch.setattr(rates, "time", clock)
    rate, passed = Rate("test", most, 60), []
    for pause in pauses:
        clock.now += pause
        wait = rate.take("anna")
        if wait:
            assert 0 < wait <= 63
            assert rate.take("anna") > 0
            clock.now += wait + 0.001
            assert rate.take("anna") == 0, "there is room when it was said to be"
        passed.append(clock.now)
    assert all(later - earlier >= 60 for earlier, later in zip(passed, passed[most:], strict=False))


def test_each_is_counted_for_itself_and_can_be_forgotten(client):
    assert taken(7) == 5
    assert A_DAY.take("boss") == 0
    A_DAY.forget("anna")
    assert taken(1) == 1
    assert min(client.ttl(key) for key in client.keys(f"{PREFIX}*")) > 0


# --- Alone ------------------------------------------------------------------------------------------------------------


def test_with_redis_killed_a_process_counts_for_itself_and_together_again_when_it_is_back(
    client, valkey, using, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "jobs.rates")
    assert taken(2) == 2
    kill(valkey)

    assert taken(8) == 5

    monkeypatch.setattr(cache().server, "not_before", 0.0)
    assert taken(3) == 0, "it is away still"
    valkey.run(subprocess.DEVNULL)
    monkeypatch.setattr(cache().server, "not_before", 0.0)
    assert taken(8) == 5
    assert len(client.keys(f"{PREFIX}*:?*:*")) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.django_db
def test_a_redis_that_does_not_answer_is_asked_once_and_no_request_fails(brief, using, tmp_path, settings):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen(50)
        using(f"redis+socket://{tmp_path / 'silent'}")

        login = {"username": "anna", "password": "wrong"}
        guesses = [Client(HTTP_AUTHORIZATION="Bearer swy_x").get("/api/v1/jobs/").status_code for _ in range(22)]
        logins = [Client().post("/admin/login/", login).status_code for _ in range(12)]

        silent.setblocking(False)
        silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert guesses == [401] * 20 + [429] * 2
    assert logins == [200] * 10 + [429] * 2


def test_with_a_stopped_redis_threads_go_on(brief, client, valkey):
    assert taken(1) == 1
    cache().near.clear()  # where it was counted if that Redis was slow
    valkey.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(taken, [4] * 4)) == 5


def test_with_a_full_redis_a_process_counts_for_itself_until_it_has_room(client, monkeypatch, caplog):
    client.config_set("maxmemory", 1)
    assert taken(8) == 5
    monkeypatch.setattr(cache().server, "not_before", 0.0)
    assert taken(3) == 0
    assert client.keys(f"{PREFIX}*") == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]

    client.config_set("maxmemory", 0)
    monkeypatch.setattr(cache().server, "not_before", 0.0)
    assert taken(8) == 5


@pytest.mark.parametrize("broker", ["amqp://guest@localhost//", "sentinel://localhost:26379", "redis://%00:x/1"])
def test_with_another_broker_a_process_counts_for_itself(using, broker):
    using(broker)
    assert taken(8) == 5


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("redis://:a%2Cb@there:6379/2", "redis://:a%2Cb@there:6379/2"),
        ("redis://one/1;redis://two/1", "redis://one/1"),
        ("redis://there/0?heartbeat=3", "redis://there/0"),
        (
            "rediss://there?ssl_cert_reqs=CERT_NONE&ssl_ca_certs=/ca",
            "rediss://there?ssl_cert_reqs=none&ssl_ca_certs=%2Fca",
        ),
        ("redis+socket:///run/x.sock", "unix:///run/x.sock?db=0"),
        ("redis+socket:///run/x.sock?virtual_host=3", "unix:///run/x.sock?db=3"),
        ("sentinel://there:26379", ""),
        ("amqp://there", ""),
    ],
)
def test_the_brokers_address_is_taken_over(broker, url):
    assert redis_url(broker) == url


# --- Nothing but numbers ----------------------------------------------------------------------------------------------


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_that_is_pickled_is_stored_or_loaded(client, tmp_path):
    for name, value in {"number": 1, "text": "x", "list": [1.5, None], "yes": True}.items():
        cache().set(name, value, 60)
        assert cache().get(name) == value
    assert taken(7) == 5
    stored = [client.get(key) for key in client.keys("*")]
    assert sorted(value for value in map(json.loads, stored) if type(value) is int) == [1, 5]
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(client.get(f"{PREFIX}1:text"))

    client.set(f"{PREFIX}1:harm", pickle.dumps(Harmful(tmp_path / "harm")), ex=60)

    assert cache().get("harm") is None
    assert cache().get_many(["harm", "number"]) == {"harm": None, "number": 1}
    assert not (tmp_path / "harm").exists()


def test_what_cannot_be_written_as_json_is_not_stored_in_redis(client, tmp_path):
    cache().set("harm", Harmful(tmp_path / "harm"), 60)
    assert client.keys("*") == []


def test_a_count_that_somebody_else_spoiled_lets_requests_through(client):
    assert taken(1) == 1
    client.set(client.keys(f"{PREFIX}*")[0], b"\x80\x04spoiled", ex=60)
    assert taken(8) == 5


def test_forgetting_all_leaves_what_else_is_in_redis(client):
    client.rpush("default", "a job")
    assert taken(1) == 1
    cache().clear()
    assert client.keys("*") == [b"default"]


def test_what_is_counted_is_not_readable(client):
    A_DAY.take("10.0.0.1")
    assert b"10.0.0.1" not in b" ".join(client.keys("*"))
