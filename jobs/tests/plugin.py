"""pytest plugin: real Postgres and Valkey for the session, real workers for a test.

Loaded by `-p jobs.tests.plugin` in pyproject.toml, because it must set the environment before Django's settings load.
With DATABASE_URL and BROKER_URL (or REDIS_URL) set, those servers are used; the broker's database is then flushed.
"""

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.tests.live import LiveWorker, LiveWorkers

_FOLDER_PREFIX = "switchyard-test-"
_servers: list[Any] = []
_deselected: list[pytest.Item] = []
_workers = pytest.StashKey[LiveWorkers]()


def pytest_addoption() -> None:
    """Called as soon as the plugin is loaded: pytest-django reads the settings a little later."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    os.environ["SWITCHYARD_ENV_FILE"] = ""  # a developer's .env is not for tests
    # Else every process that a test starts compiles all of our modules anew: a third of the time of its start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    _sweep()
    data = Path(tempfile.gettempdir()) / f"{_FOLDER_PREFIX}{os.getpid()}"
    data.mkdir(mode=0o755)
    os.environ["DATA"] = str(data)
    os.environ["TASK_MODULES"] = "jobs.tests.probe_tasks"
    # Built once for all test runs of a checkout; most tests embed with what needs no building.
    os.environ.setdefault("ENCODERS_DIR", str(Path(__file__).resolve().parents[2] / ".cache" / "encoders"))
    os.environ.setdefault("EMBEDDING_ENCODER", "ngram")
    # Its thread would see what other tests leave for a moment, and stand in the way of emptying tables.
    os.environ.setdefault("SEARCH_LISTENER", "0")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    from django.conf import settings
    from hypothesis import HealthCheck
    from hypothesis import settings as hypothesis_settings

    settings.TESTING = True
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    # Pages are rendered without collecting their static files first.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}

    # On a machine that is kept busy, a session of Postgres may take longer to begin than a page may wait for it.
    settings.DATABASES["default"]["OPTIONS"]["connect_timeout"] = 60

    # Each account of a test would otherwise cost a third of a second, and each refused login another.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    # How long an example takes says something about the machine alone.
    hypothesis_settings.register_profile("switchyard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    hypothesis_settings.load_profile("switchyard")

    from jobs import rates
    from jobs.tests import emptying, order

    # On a busy machine Valkey may be kept waiting for longer than a request would wait for it; counts begin anew then.
    rates.ANSWER_SECONDS = 120.0
    emptying.install()
    order.install(config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the servers, now that there is something to run; from the main thread, which their lives hang on."""
    if not session.items or session.config.option.collectonly:
        return
    from django.conf import settings

    from jobs.stack.servers import Postgres, Valkey

    for embedded, kind in ((settings.EMBEDDED_POSTGRES, Postgres), (settings.EMBEDDED_REDIS, Valkey)):
        if embedded:
            server = kind(settings.DATA_DIR, settings.SOCKET_DIR, throwaway=True)
            _servers.append(server)
            with (settings.DATA_DIR / f"{server.name}.log").open("wb") as log:
                try:
                    server.run(log)
                except Exception:
                    sys.stderr.write((settings.DATA_DIR / f"{server.name}.log").read_text(errors="replace"))
                    raise


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from jobs.tests import order

    if order.is_one_of_several(config):
        order.longest_first(items)


def pytest_unconfigure() -> None:
    for server in reversed(_servers):
        server.stop()
    _servers.clear()
    if Path(os.environ["DATA"]).name.startswith(_FOLDER_PREFIX):
        _remove(Path(os.environ["DATA"]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Let this process' own senders finish before tables are emptied or dropped under them; look what is left."""
    from jobs.ledger import flusher, publisher
    from jobs.tests.abandoned import abandoned

    publisher.drain()
    flusher.drain()
    yield
    if left := abandoned():
        pytest.fail(f"its socket was closed while a thread waited on it: {', '.join(left)}; shut it down first")


@pytest.fixture
def broker(transactional_db: None) -> Iterator[None]:
    """An empty broker before and after the test."""
    from jobs.tests.live import flush_broker

    flush_broker()
    yield
    flush_broker()


@pytest.fixture(autouse=True)
def _forget_rates() -> None:
    """Nobody has asked for anything yet."""
    from django.core.cache import caches

    for cache in caches.all():
        cache.clear()


@pytest.fixture
def api(db: None) -> Any:
    """A program that may do everything."""
    from jobs.tests.api_client import root

    return root()


@pytest.fixture
def live_worker(request: pytest.FixtureRequest, broker: None, tmp_path: Path) -> Iterator[LiveWorkers]:
    """Start real workers on the test database: `live_worker("default", "fast_lane", concurrency=2, LOG_LEVEL="DEBUG")`.

    Returns, once the worker is ready, a LiveWorker. It is stopped at the end; its log is shown when the test fails.
    Needs `@pytest.mark.django_db(transaction=True)`: a worker sees only what is committed.
    """
    workers = LiveWorkers(tmp_path)
    request.node.stash[_workers] = workers
    try:
        yield workers
    finally:
        workers.stop()


@pytest.fixture
def ends_backends() -> Iterator[Callable[[], int]]:
    """Ends every connection to the tests' database but the test's own, as a restart of the server does.

    Leaves none of this process' behind that later tests would find broken. Call it; returns how many were ended.
    """
    from jobs.ledger import connection as ledger_connections
    from jobs.tests.live import end_backends

    yield end_backends
    for own in ledger_connections._of_this_process.values():
        own.close()


@pytest.fixture(scope="module")
def shared_workers(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., LiveWorker]]:
    """As `live_worker`, for workers that the tests of a module share.

    They outlive the emptying after the module's last test: what they have written since then is emptied here.
    """
    workers = LiveWorkers(tmp_path_factory.mktemp("workers"))

    def start(*queues: str, **options: Any) -> LiveWorker:
        with django_db_blocker.unblock():
            return workers(*queues, **options)

    yield start
    workers.stop()
    from jobs.tests import emptying

    with django_db_blocker.unblock():
        emptying.empty()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    workers = item.stash.get(_workers, None)
    if workers is not None and report.failed:
        for worker in workers.started:
            report.sections.append((f"log of worker {worker.name}", worker.log()[-20_000:]))
    return report


def pytest_deselected(items: list[pytest.Item]) -> None:
    _deselected.extend(items)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what was left out, and why."""
    if terminalreporter.config.getoption("numprocesses", None) and terminalreporter.config.option.markexpr:
        # The other processes choose, and do not tell what they left out.
        terminalreporter.line(f"only tests that are {terminalreporter.config.option.markexpr!r}; all: make test-all")
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    long = sum(1 for item in _deselected if item.get_closest_marker("long"))
    if long:
        reasons["marked long; `make test-all` runs them"] += long
    if len(_deselected) > long:
        reasons["not selected on the command line"] += len(_deselected) - long
    if reasons:
        terminalreporter.section("left out", sep="-")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''}: {reason}")


def _sweep() -> None:
    """Remove what test runs that were killed left in the temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX)
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            _remove(folder)


def _remove(data: Path) -> None:
    from config.environment import socket_folder

    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(socket_folder(data.resolve()), ignore_errors=True)
