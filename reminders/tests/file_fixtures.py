"""What tests of attached files start from."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages

from jobs.models import Job
from reminders.files.receiving import received
from reminders.models import Attachment
from reminders.services import attachments
from reminders.tests import factories, scanner


@pytest.fixture
def files(settings: Any, tmp_path: Path) -> Path:
    """A storage and a quarantine of the test's own; no scanner. Returns the folder with both."""
    settings.ATTACHMENTS = {
        **settings.ATTACHMENTS,
        "QUARANTINE_DIR": tmp_path / "quarantine",
        "CLAMAV": "",
        "SERVE_UNSCANNED": False,
    }
    own = {**settings.STORAGES["attachments"]["OPTIONS"], "location": str(tmp_path / "stored")}
    settings.STORAGES = {**settings.STORAGES, "attachments": {**settings.STORAGES["attachments"], "OPTIONS": own}}
    # Its cache of storages is emptied by Django's own receiver of changed settings.
    assert str(tmp_path) in str(getattr(storages["attachments"], "location", ""))
    return tmp_path


@pytest.fixture
def attach(files: Path, db: None) -> Callable[..., Attachment]:
    """`attach(content, name, todo=…)`: a file of a task, of a new one if none is given."""

    def add(content: bytes, name: str = "notes.txt", todo: Any = None) -> Attachment:
        todo = todo or factories.todo(factories.person())
        with received([content], name) as file:
            return attachments.add(todo, file, todo.creator)

    return add


@pytest.fixture(scope="session")
def clamd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A clamd that knows EICAR, and takes files of up to 2 MB."""
    if not scanner.PROGRAM:
        pytest.skip("there is no clamd; install Debian's clamav-daemon")
    folder = tmp_path_factory.mktemp("clamd")
    (folder / "signatures").mkdir()
    scanner.sign_eicar(folder / "signatures")
    with scanner.clamd(folder, "StreamMaxLength 2M") as address:
        yield address


@pytest.fixture
def clamav(files: Path, clamd_address: str, settings: Any) -> str:
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": clamd_address}
    return clamd_address


@pytest.fixture
def clamav_away(files: Path, settings: Any) -> None:
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": f"unix://{files}/no.sock"}


def stored(files: Path) -> list[str]:
    """The names of all stored files."""
    return sorted(name for _, _, names in os.walk(files / "stored") for name in names)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sent(task: str) -> list[Any]:
    """The arguments of the jobs of a task."""
    return list(Job.objects.filter(task=task).order_by("created_at").values_list("kwargs", flat=True))
