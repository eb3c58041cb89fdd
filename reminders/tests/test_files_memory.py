"""Nasty files and huge uploads take little memory: measured in processes of their own."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.operators.actors import command_actor
from jobs.operators.tokens import create_token
from jobs.stack.parent import before_exec
from jobs.tests.live import database_url
from reminders.tests import factories
from reminders.tests import filemaking as make

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
MOST_MB = 200

_SHOWN = """
import json, resource, sys
from reminders.files import thumbnails
try:
    with open(sys.argv[1], "rb") as file:
        said = len(thumbnails.make(file, sys.argv[2]))
except thumbnails.ThumbnailRefused as exc:
    said = str(exc)
print(json.dumps([said, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024]))
"""
_DETECTED = """
import json, os, pathlib, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
from reminders.files import detecting
from reminders.files.refusals import FileRefused
try:
    said = detecting.detect(pathlib.Path(sys.argv[1])).name
except FileRefused as exc:
    said = exc.code
# What getrusage tells of itself counts what its parent had before it became this program.
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
print(json.dumps([said, next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))]))
"""


def measured(program: str, *arguments: str) -> tuple[Any, int]:
    """What a program of its own says, and how many MB it took at most."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said, megabytes = json.loads(done.stdout)
    return said, megabytes


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one colour: what they take depends on their pixels alone."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    large = Image.new("RGB", (8000, 6000), (120, 30, 200))
    large.save(folder / "progressive.jpg", progressive=True)
    large.save(folder / "progressive444.jpg", progressive=True, subsampling=0)
    large.save(folder / "baseline.jpg")
    large.save(folder / "plain.png", compress_level=1)
    small = Image.new("RGB", (4000, 3000), (120, 30, 200))
    small.save(folder / "photo.png", compress_level=1)
    small.save(folder / "photo.webp", method=0)
    (folder / "bits.png").write_bytes(make.giant_png(14_000, 12_600))
    # It need not be whole: its header is enough.
    (folder / "huge.png").write_bytes(make.giant_png(50_000, 50_000, rows=1000))
    return folder


@pytest.mark.parametrize(
    ("name", "content_type", "answer"),
    [
        ("baseline.jpg", "image/jpeg", "made"),
        ("progressive.jpg", "image/jpeg", "made"),
        ("progressive444.jpg", "image/jpeg", "needs_memory"),
        ("photo.png", "image/png", "made"),
        ("plain.png", "image/png", "needs_memory"),
        ("photo.webp", "image/webp", "needs_memory"),
        ("bits.png", "image/png", "too_many_pixels"),
        ("huge.png", "image/png", "too_many_pixels"),
    ],
)
def test_a_picture_fits_or_is_named(pictures: Path, name: str, content_type: str, answer: str):
    said, megabytes = measured(_SHOWN, str(pictures / name), content_type)

    assert (said.partition(":")[0] if isinstance(said, str) else "made") == answer
    assert megabytes < MOST_MB


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "archive_size").write_bytes(make.zipped({"zeros": bytes(1_000_000_000)}))
    (folder / "archive_ratio").write_bytes(make.zipped({"zeros": bytes(200_000_000)}))
    (folder / "archive_ratio nested").write_bytes(make.zipped({"1.zip": make.zipped({"z": bytes(200_000_000)})}))
    (folder / "archive_entries").write_bytes(make.long_list(30_000))
    texts = {f"{n}.txt": random.Random(n).randbytes(1000) * 20 for n in range(100)}
    (folder / "zip").write_bytes(make.zipped(texts))
    (folder / "text").write_bytes(b"0123456789abcde\n" * 1_600_000)
    return folder


@pytest.mark.parametrize(
    "name", ["archive_size", "archive_ratio", "archive_ratio nested", "archive_entries", "zip", "text"]
)
def test_a_bomb_is_named_in_little_memory(bombs: Path, name: str):
    said, megabytes = measured(_DETECTED, str(bombs / name))

    assert said == name.split(maxsplit=1)[0]
    assert megabytes < MOST_MB


# --- Uploads to the real web server -----------------------------------------------------------------------------------


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """(socket, pid of its one worker) of a gunicorn on the test's database, with one worker."""
    path = tmp_path / "web.sock"
    command = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", "--workers", "1"]
    environment = {
        "DATABASE_URL": database_url(),
        "WEB_BIND": f"unix:{path}",
        "ATTACHMENT_STORAGE": str(tmp_path / "stored"),
        "SEARCH_LISTENER": "false",
        "CLAMAV": "",
        "API_RATE_USER": "6000/min",
    }
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"unix:{path}"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=before_exec(signal.SIGKILL),
        )
    try:
        deadline = time.monotonic() + 180
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (path.exists() and children.read_text().split()):
            assert process.poll() is None, (tmp_path / "web.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "web.log").read_text()
            time.sleep(0.1)
        yield path, int(children.read_text().split()[0])
    finally:
        process.terminate()
        process.wait(120)


def peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split(maxsplit=2)[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def send(path: Path, target: str, token: str, length: int, sent: int) -> str:
    """Announce so many bytes, send up to so many, and read the whole answer, which comes in several pieces."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(120)
        connection.connect(str(path))
        connection.sendall(head.encode())
        piece = b"0123456789abcde\n" * 4096
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered, and hears no more
            while sent > 0:
                connection.sendall(piece[:sent])
                sent -= len(piece)
        answer = b""
        with suppress(ConnectionResetError):  # it left some of what was sent unread
            while piece := connection.recv(65_536):
                answer += piece
        return answer.decode()


def test_five_gigabytes_are_refused_and_what_is_allowed_is_taken_in_little_memory(
    web: tuple[Path, int], tmp_path: Path
):
    path, pid = web
    anna = factories.person("anna")
    todo = factories.todo(anna)
    _, token = create_token(command_actor(), anna, "test")
    target = f"/api/v1/todos/{todo.pk}/attachments/?name=a.txt"

    small = send(path, target, token, 1000, 1000)
    before = peak_mb(pid)
    # As clients do, it goes on sending while it is answered.
    refused = send(path, target, token, 5_000_000_000, 400_000_000)
    taken = send(path, target, token, 25_000_000, 25_000_000)

    assert small.startswith("HTTP/1.1 201 "), small
    assert refused.startswith("HTTP/1.1 413 "), refused
    assert "5,000,000,000 bytes were announced, which is more than 26,214,400 bytes" in refused
    assert taken.startswith("HTTP/1.1 201 "), taken
    assert peak_mb(pid) - before < 30
    assert peak_mb(pid) < MOST_MB
    assert len(list((tmp_path / "stored").rglob("*"))) >= 2
