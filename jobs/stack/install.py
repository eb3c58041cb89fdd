"""What a start does before the first process: tables, static files, the first operator."""

import contextlib
import hashlib
import io
import os
import secrets
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from jobs.stack.program import Tell

ADMIN = "admin"


def prepare_database(tell: Tell) -> int:
    """Migrate, and create the first operator; tells its password when it is a made-up one.

    It is not to be stopped half-way: Django may have made a table and not yet noted that it did.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    call_command("check", stdout=io.StringIO())  # once for all: workers skip theirs
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        sys.stdout.write(f"applying {len(plan)} migrations\n")
    call_command("migrate", interactive=False, verbosity=0)
    password = create_first_operator()
    if password:
        tell(f"password {password}")
    connection.close()
    return 0


def create_first_operator() -> str | None:
    """Create the operator `admin` when nobody may enter the admin yet. Returns the password if it was made up."""
    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists() or users.filter(username=ADMIN).exists():
        return None
    given = os.environ.get("SWITCHYARD_ADMIN_PASSWORD", "")
    password = given or secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, "", password)
    return None if given else password


def collect_static_files(tell: Tell) -> int:
    """Copy and compress the static files, unless nothing changed since the last start."""
    root = Path(settings.STATIC_ROOT)
    stamp = root.with_name(f"{root.name}.stamp")
    state = _static_state()
    if root.is_dir() and stamp.is_file() and stamp.read_text() == state:
        return 0
    sys.stdout.write("collecting static files\n")
    with contextlib.redirect_stdout(io.StringIO()):
        call_command("collectstatic", interactive=False, verbosity=0, clear=root.is_dir())
    stamp.write_text(state)
    return 0


def _static_state() -> str:
    state = hashlib.sha256(f"{version('whitenoise')} {version('django')} {settings.STORAGES}".encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            found = Path(storage.path(path)).stat()
            state.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return state.hexdigest()
