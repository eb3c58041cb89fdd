"""The settings that people can set: documented, and refused when wrong."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READERS = {
    "text",
    "flag",
    "whole_number",
    "words",
    "one_of",
    "url",
    "time_zone",
    "rate",
    "token",
    "folder",
    "storage",
    "amount",
}
# Not settings of ours: other programs' variables, and what our own processes tell each other.
FOREIGN = {"DJANGO_SETTINGS_MODULE", "XDG_RUNTIME_DIR", "NO_COLOR", "COLUMNS", "TERM", "HOME", "PATH", "TZ", "CI"} | {
    "NNCF_CI",
    "TOKENIZERS_PARALLELISM",
}
INTERNAL = {"CELERY_BROKER_URL", "BENCH_PLAIN_BROKER", "BENCH_STOCK_BROKER", "BENCH_STOCK_DATABASE"}
_ENTRY = re.compile(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


def documented() -> dict[str, str]:
    return dict(_ENTRY.findall((ROOT / ".env.example").read_text()))


# Tests, and the faulty sources that the reviewer is measured by.
OTHERS = {"tests", "seeded"}


def sources() -> Iterator[Path]:
    for folder in ("config", "jobs", "embeddings", "reminders", "reviews"):
        yield from (path for path in (ROOT / folder).rglob("*.py") if not OTHERS & set(path.parts))


def settings_read() -> dict[str, str | None]:
    """Each variable that config/ reads, with its default as one would write it; None where it is computed."""
    found: dict[str, str | None] = {}
    for path in (ROOT / "config").glob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if function in READERS and call.args and isinstance(call.args[0], ast.Constant):
                found.setdefault(str(call.args[0].value), _default(function, call))
    return found


def _default(function: str, call: ast.Call) -> str | None:
    position = 2 if function == "url" else 1
    if len(call.args) <= position:
        return ""
    default = call.args[position]
    if not isinstance(default, ast.Constant):
        return None
    return str(default.value).lower() if isinstance(default.value, bool) else str(default.value)


def compose_read() -> set[str]:
    """Each variable that docker-compose.yml takes from the environment."""
    return set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", (ROOT / "docker-compose.yml").read_text()))


def environment_read() -> set[str]:
    """Each variable that any code of ours takes from the environment directly."""
    pattern = re.compile(r"""environ(?:\.get\(|\.pop\(|\[)\s*["']([A-Z][A-Z0-9_]*)["']""")
    return {name for path in sources() for name in pattern.findall(path.read_text())} - FOREIGN - INTERNAL


def test_every_variable_that_is_read_is_in_the_example_and_no_other():
    assert set(documented()) == set(settings_read()) | environment_read() | compose_read()


def test_the_example_shows_the_defaults():
    shown = documented()
    defaults = {name: default for name, default in settings_read().items() if default is not None}

    assert defaults
    assert {name: shown[name] for name in defaults} == defaults


def test_the_example_is_all_comments_so_that_copying_it_changes_nothing():
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []


def check(tmp_path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if name not in settings_read()}
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**clean, "DATA": str(tmp_path), "SWITCHYARD_ENV_FILE": "", **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


KEY = "k" * 50


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DEBUG": "maybe"}, "DEBUG='maybe'"),
        ({"HTTPS": "2"}, "HTTPS='2'"),
        ({"KEEP_SUCCEEDED_DAYS": "-1"}, "KEEP_SUCCEEDED_DAYS=-1"),
        ({"RESULT_HOURS": "a day"}, "RESULT_HOURS='a day'"),
        ({"CONN_MAX_AGE": "1.5"}, "CONN_MAX_AGE='1.5'"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL='LOUD'"),
        ({"TIME_ZONE": "Mars/Base"}, "TIME_ZONE='Mars/Base'"),
        ({"TIME_ZONE": "../../etc/passwd"}, "TIME_ZONE='../../etc/passwd'"),
        ({"API_RATE_USER": "lots"}, "API_RATE_USER='lots'"),
        ({"API_RATE_ANONYMOUS": "0/min"}, "API_RATE_ANONYMOUS='0/min'"),
        ({"PUBLIC_URL": "jobs.example.com"}, "PUBLIC_URL is not a URL"),
        ({"GITHUB_API_URL": "ftp://github.example.com"}, "GITHUB_API_URL starts with 'ftp'"),
        ({"SECRET_KEY": "hunter2hunter2"}, "SECRET_KEY has fewer than 50"),
        ({"DATABASE_URL": "postgres://u:hunter2@db/x"}, "SECRET_KEY is not set"),
        ({"DATABASE_URL": "mysql://u:hunter2@db/x", "SECRET_KEY": KEY}, "DATABASE_URL starts with 'mysql'"),
        ({"DATABASE_URL": "postgres://u:hunter2/x@db/x", "SECRET_KEY": KEY}, "DATABASE_URL is not a well-formed URL"),
        ({"DATABASE_URL": "hunter2", "SECRET_KEY": KEY}, "DATABASE_URL is not a URL"),
        ({"REDIS_URL": "http://:hunter2@redis"}, "REDIS_URL starts with 'http'"),
        ({"EMAIL_URL": "https://u:hunter2@mail"}, "EMAIL_URL starts with 'https'"),
        ({"METRICS_TOKEN": "hunter2"}, "METRICS_TOKEN has 7 characters"),
        ({"BROKER_URL": "kafka://:hunter2@broker"}, "BROKER_URL starts with 'kafka'"),
        ({"BROKER_URL": "amqp://u:p@one//;kafka://u:hunter2@two//"}, "BROKER_URL starts with 'kafka'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_value_stops_the_start_with_one_line_and_no_secret(
    tmp_path: Path, environment: dict[str, str], expected: str
):
    done = check(tmp_path, **environment)

    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + done.stdout


def test_the_defaults_pass_and_an_empty_value_counts_as_not_set(tmp_path: Path):
    done = check(tmp_path, CONN_MAX_AGE="", DEBUG="", DATABASE_URL="", LOG_LEVEL="", TIME_ZONE="")

    assert done.returncode == 0, done.stderr


def test_a_value_may_begin_with_a_dollar_sign(tmp_path: Path):
    done = check(tmp_path, SECRET_KEY="$" + KEY)

    assert done.returncode == 0, done.stderr


def test_the_key_that_is_made_is_kept_and_private(tmp_path: Path):
    check(tmp_path)
    kept = tmp_path / "secret_key"
    first = kept.read_text()
    check(tmp_path)

    assert kept.read_text() == first
    assert len(first) >= 50
    assert kept.stat().st_mode & 0o077 == 0
