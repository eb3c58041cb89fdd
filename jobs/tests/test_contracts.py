"""What holds the project's parts together: who imports whom, and what lies where."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE = 400
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as run; run()"]
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_imports_run_one_way():
    done = lint_imports(ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("jobs/ledger/door.py", "import reviews"),
        ("jobs/tests/test_door.py", "from reminders import todos"),
        ("jobs/operators.py", "from config import settings"),
        ("embeddings/services.py", "from reviews import models"),
        ("reminders/services.py", "from embeddings import search"),
        ("reviews/services.py", "from reminders import todos"),
        ("config/urls.py", "from jobs import models"),
    ],
)
def test_an_import_the_other_way_is_found(tmp_path: Path, module: str, line: str):
    for package in ("config", "jobs", "jobs/ledger", "jobs/tests", "embeddings", "reminders", "reviews"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for name in ("config/settings", "jobs/models", "embeddings/search", "reminders/todos", "reviews/models"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert lint_imports(tmp_path).returncode == 0

    (tmp_path / module).write_text(f"{line}\n")

    assert lint_imports(tmp_path).returncode == 1


def test_no_module_is_longer_than_one_can_read():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in ("config", "jobs", "embeddings", "reminders", "reviews", "deploy")
        for path in (ROOT / folder).rglob("*.py")
        if not {"migrations", "tests"} & set(path.parts)
    }

    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_templates_lie_in_the_common_folder():
    assert [
        str(path) for app in ("jobs", "embeddings", "reminders", "reviews") for path in (ROOT / app).rglob("*.html")
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_what_exists(page: Path):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_commands_that_exist(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    scripts = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))

    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) - set(get_commands()) == set()
    assert scripts - targets == set()
