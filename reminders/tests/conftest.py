from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from reminders.services import sending
from reminders.tests.factories import at
from reminders.tests.post_office import PostOffice, post_office


@pytest.fixture
def clock(settings: Any, tmp_path: Path) -> Callable[[str | datetime], datetime]:
    """Turns the time that reminders go by: `clock("2026-03-01 09:00")`, in UTC."""
    file = tmp_path / "clock"
    settings.VIRTUAL_CLOCK = str(file)

    def turn(to: str | datetime) -> datetime:
        moment = at(to) if isinstance(to, str) else to
        # Workers and threads read it meanwhile, and never half of it.
        following = file.with_suffix(".next")
        following.write_text(moment.isoformat())
        following.replace(file)
        return moment

    turn("2026-03-01 00:00")
    return turn


@pytest.fixture(autouse=True)
def mail_server(settings: Any) -> None:
    """One is set, which does not answer: what is told of ways to people is as of a whole installation."""
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1


@pytest.fixture
def office(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostOffice]:
    """A mail server that is set as the installation's, and given as long as a busy machine may need."""
    monkeypatch.setattr(sending, "MAIL_SECONDS", 120.0)
    with post_office() as office:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", office.port
        settings.DEFAULT_FROM_EMAIL = "Switchyard <todo@switchyard.example>"
        yield office


@pytest.fixture
def effects(db: None) -> Iterator[None]:
    """What tests do outside is written down on a connection of its own: taken away afterwards."""
    from jobs.ledger import connection

    yield
    connection.effects().insist(lambda own: own.execute("DELETE FROM jobs_effect WHERE key LIKE 'reminder%'"))
    connection.effects().close()
