"""Indexing by a real worker, which fetches with its token from a server that speaks git's protocol."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from jobs.models import Job, State
from jobs.operators.actors import command_actor
from jobs.tests.live import LiveWorkers
from reviews.models import CodeIndex, IndexState, Repository, Symbol
from reviews.services import code_index
from reviews.standin.git import GitServer
from reviews.standin.repositories import Repo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]
TOKEN = "ghs_" + "secret" * 6


@pytest.fixture
def server(tmp_path: Path, settings: Any, live_worker: LiveWorkers) -> Iterator[GitServer]:
    made = GitServer(tmp_path / "served", TOKEN)
    running = made.start()
    settings.GITHUB = {**settings.GITHUB, "TOKEN": TOKEN, "API_URL": made.url}
    live_worker("index_lane", "maintenance", GITHUB_TOKEN=TOKEN, GITHUB_API_URL=made.url)
    yield made
    made.go_on.set()
    running.shutdown()
    running.server_close()


@pytest.fixture
def origin(server: GitServer) -> Repo:
    made = Repo(server.root / "acme" / "shop.git")
    made.commit({"app.py": "def total():\n    return 1\n"})
    return made


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(github_id=7, full_name="acme/shop")


def until(condition: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        told = [(job.task, job.state, job.error) for job in Job.objects.all()]
        assert time.monotonic() < deadline, (told, CodeIndex.objects.values())
        time.sleep(0.05)
    return value


def in_state(state: IndexState) -> Callable[[], CodeIndex | None]:
    return lambda: CodeIndex.objects.filter(state=state).first()


def test_a_push_during_a_run_is_indexed_and_no_job_is_left(server: GitServer, origin: Repo, repository: Repository):
    server.go_on.clear()
    first = code_index.request(command_actor(), repository)
    assert until(in_state(IndexState.RUNNING)).job_id == first
    until(lambda: server.authorizations)

    head = origin.commit({"new.py": "def late():\n    return 1\n"})
    with transaction.atomic():
        code_index.request_for_push(repository, head)
    server.go_on.set()

    until(lambda: CodeIndex.objects.filter(state=IndexState.READY, sha=head).exists())
    jobs = Job.objects.filter(task="index_repository")
    until(lambda: not jobs.exclude(state=State.SUCCEEDED).exists())
    assert jobs.count() == 2
    assert set(Symbol.objects.values_list("qualified_name", flat=True)) == {"total", "late"}
    assert set(server.authorizations) == {server.wanted()}


def test_a_refused_token_fails_the_job_at_once_and_is_told_on_the_index(
    server: GitServer, origin: Repo, repository: Repository
):
    server.token = "another"

    job = Job.objects.get(pk=code_index.request(command_actor(), repository))

    until(lambda: Job.objects.filter(pk=job.pk, state=State.FAILED).exists())
    row = CodeIndex.objects.get()
    assert row.state == IndexState.FAILED
    assert "our access may read" in row.error
    assert TOKEN not in row.error + Job.objects.get(pk=job.pk).error


def test_a_repository_that_is_gone_is_forgotten_by_a_job(server: GitServer, origin: Repo, repository: Repository):
    from reviews.tasks import forget_repository

    code_index.request(command_actor(), repository)
    until(in_state(IndexState.READY))

    forget_repository.delay(repository_id=repository.pk)

    until(lambda: not CodeIndex.objects.exists())
    assert not Symbol.objects.exists()
