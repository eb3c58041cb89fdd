"""Sends from a process of its own, for tests whose broker is not the session's."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from jobs.stack.servers import Valkey
from jobs.tests.live import database_url

TIMEOUT_SECONDS = 150
_BEGIN = """
import sys, time
import django
django.setup()
from jobs import tasks
from jobs.ledger import publisher
"""


def broker_url(server: Valkey) -> str:
    return f"redis+socket://{server.socket}"


def send_from_a_process(code: str, **env: str) -> str:
    """Run `code`, which finds `tasks` (those of jobs.tasks). Returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + textwrap.dedent(code)],
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            **env,
        },
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout
