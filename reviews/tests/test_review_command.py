"""`manage.py review`, as a process: without Postgres, Redis or network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reviews.analysis.eligibility import SECRETS_ONLY
from reviews.standin.repositories import Repo

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


def run(*arguments: str, data: Path) -> "subprocess.CompletedProcess[str]":
    nowhere = {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEY": "x" * 60,
        "DATA": str(data),
    }
    command = [sys.executable, str(MANAGE), "review", *arguments]
    return subprocess.run(command, env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=180)


@pytest.fixture
def changed(repo: Repo) -> Repo:
    repo.commit({"a.py": "X = 1\n", "notes.txt": "x"})
    repo.commit({"a.py": "X = 1\neval(input())\n", "notes.txt": "y"})
    return repo


def test_findings_are_printed_with_place_rule_and_severity(changed: Repo, tmp_path: Path) -> None:
    done = run("--repo", str(changed.path), "--base", "HEAD~1", "--head", "main", data=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.py:2: S307 ")
    assert "[high]" in done.stdout
    assert "not read: notes.txt: searched for secrets only" in done.stdout


def test_json_is_one_document(changed: Repo, tmp_path: Path) -> None:
    done = run("--repo", str(changed.path), "--base", "HEAD~1", "--json", data=tmp_path)

    answer = json.loads(done.stdout)
    assert answer["head"] == changed.head()
    assert [(found["path"], found["line"], found["rule"]) for found in answer["findings"]] == [("a.py", 2, "S307")]
    assert answer["not_read"] == [{"path": "notes.txt", "reason": SECRETS_ONLY}]


def test_all_findings_can_be_had_though_ten_are_shown(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"a.py": "X = 1\n"})
    repo.commit({"a.py": "X = 1\n" + "".join(f"import module{number}\n" for number in range(13))})
    arguments = ("--repo", str(repo.path), "--base", "HEAD~1")

    short = run(*arguments, data=tmp_path).stdout
    everything = run(*arguments, "--all", data=tmp_path).stdout
    answer = json.loads(run(*arguments, "--json", data=tmp_path).stdout)

    assert (short.count(" F401 "), everything.count(" F401 "), len(answer["findings"])) == (10, 13, 13)
    assert "and 3 more; the 10 most severe are shown; --all prints every one" in short
    assert "13 findings in 1 file read" in short
    assert "--all" not in everything
    assert answer["left_out"] == 0


def test_findings_fail_only_when_asked_to(changed: Repo, tmp_path: Path) -> None:
    arguments = ("--repo", str(changed.path), "--fail-on-findings", "--base")

    assert run(*arguments, "HEAD~1", data=tmp_path).returncode == 1
    assert run(*arguments, "HEAD", data=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("nowhere", "unknown revision 'nowhere'"),
        ("", "'' is not a revision"),
        ("HEAD:a.py", "unknown revision"),
        ("--output=written", "is not a revision"),
    ],
)
def test_a_revision_that_is_not_there_is_wrong_use(changed: Repo, tmp_path: Path, base: str, said: str) -> None:
    done = run("--repo", str(changed.path), f"--base={base}", data=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert not (changed.path / "written").exists()


def test_a_folder_that_is_no_repository_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for path in ("plain", "missing"):
        done = run("--repo", str(tmp_path / path), "--base", "main", data=tmp_path)
        assert done.returncode == 2
        assert f"{path}' is not a" in done.stderr


def test_nothing_that_the_repository_configures_is_run(changed: Repo, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for setting in ("core.fsmonitor", "core.pager", "diff.external", "diff.evil.textconv", "filter.evil.smudge"):
        changed.git("config", setting, str(trap))
    changed.git("config", "core.sshCommand", str(trap))
    (changed.path / ".git" / "info").mkdir(exist_ok=True)
    (changed.path / ".git" / "info" / "attributes").write_text("*.py diff=evil filter=evil\n")
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (changed.path / ".git" / "hooks").mkdir(exist_ok=True)
        (changed.path / ".git" / "hooks" / hook).symlink_to(trap)

    done = run("--repo", str(changed.path), "--base", "HEAD~1", data=tmp_path)

    assert done.stdout.startswith("a.py:2: S307")
    assert not (tmp_path / "sprung").exists()


def test_control_characters_of_a_path_do_not_reach_the_terminal(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"a.py": "x = 1\n"})
    repo.commit({"\x1b[31mred\n.py": "eval(input())\n"})

    done = run("--repo", str(repo.path), "--base", "HEAD~1", data=tmp_path)

    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("\\x1b[31mred\\n.py:1: S307")


def test_a_bare_clone_can_be_reviewed(changed: Repo, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--bare", str(changed.path), str(tmp_path / "bare.git")], check=True)

    done = run("--repo", str(tmp_path / "bare.git"), "--base", "main~1", "--head", "main", data=tmp_path)

    assert done.stdout.startswith("a.py:2: S307")
