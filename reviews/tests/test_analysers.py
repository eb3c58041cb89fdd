"""The embedded reviewer's tools on one change of many kinds of files, their sandbox, and what they make of secrets."""

import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from reviews import suggestions
from reviews.analysis import running, sandbox, secret_patterns
from reviews.analysis.eligibility import why_not_read, why_path_not_read
from reviews.analysis.health import examine
from reviews.analysis.tools.base import Text, ToolFailed
from reviews.analysis.tools.oxlint import Oxlint
from reviews.analysis.tools.ruff import Ruff
from reviews.bench.seeded.case import letters
from reviews.bench.seeded.memory import FolderTrees, change_of
from reviews.providers.base import Brief, ReviewResult
from reviews.providers.embedded import EmbeddedReviewer
from reviews.tests.conftest import only, seen

TOKEN = "ghp_" + letters("test", 36, "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")


def reviewed(base: Mapping[str, str], head: Mapping[str, str], *, trees: bool = False) -> ReviewResult:
    brief = Brief(trees=FolderTrees(base, head) if trees else None)
    return EmbeddedReviewer().review(change_of(base, head), brief=brief)


def ran(*argv: str, limits: sandbox.Limits | None = None) -> tuple[sandbox.Ran, str]:
    with sandbox.folder() as own, tempfile.TemporaryFile() as output:
        done = sandbox.run([sys.executable, "-I", "-S", *argv], cwd=own, stdout=output, limits=limits)
        return done, output.read().decode()


def test_every_tool_reads_its_files_and_the_secret_is_nowhere_to_be_seen() -> None:
    files = {
        "app.py": "import jwt\njwt.decode(b'', options={'verify_signature': False})\n",
        "app.ts": f'export const token = "{TOKEN}";\nexport const bad = (a: number) => a === NaN;\n',
        "run": '#!/bin/bash\nX=/srv\nrm -rf "$X/"*\ncat $@\n',
        "Dockerfile": "FROM python:3.12-slim\nRUN sudo ls\n",
        ".github/workflows/a.yml": "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        '      - run: echo "${{ github.event.head_commit.message }}"\n',
        "main.go": "package main\n\nvar c = tls.Config{InsecureSkipVerify: true}\n",
    }
    result = reviewed({}, files)

    assert seen(result) == [
        (".github/workflows/a.yml", 6, "zizmor/template-injection"),
        ("Dockerfile", 2, "DL3004"),
        ("app.py", 2, "switchyard/py-jwt-unverified"),
        ("app.ts", 1, "secret/github-token"),
        ("app.ts", 2, "eslint/use-isnan"),
        ("main.go", 3, "switchyard/go-tls-off"),
        ("run", 3, "SC2115"),
        ("run", 4, "SC2068"),
    ]
    secret = next(found for found in result.findings if found.rule.startswith("secret/"))
    assert secret.source_line == 'export const token = "••••";'
    assert TOKEN not in repr(result)
    assert all(file.read for file in result.coverage), result.coverage


def test_another_secret_in_the_same_place_is_new_and_the_same_one_is_not() -> None:
    before = {"conf.py": f'KEY = "{TOKEN}"\n'}

    assert seen(reviewed(before, {"conf.py": f'import os\nprint(os)\nKEY = "{TOKEN}"\n'})) == []
    rotated = TOKEN.swapcase().replace("GHP_", "ghp_")
    assert seen(reviewed(before, {"conf.py": f'KEY = "{rotated}"\n'})) == [("conf.py", 1, "secret/github-token")]


def test_two_tools_that_say_the_same_of_a_line_are_one_finding() -> None:
    result = reviewed({}, {"a.py": "def f(P, x):\n    return P.objects.raw(f\"SELECT a FROM b WHERE c = '{x}'\")\n"})

    assert [line for _, line, _ in seen(result)] == [2]


def test_what_a_change_breaks_elsewhere_is_told_at_the_definition() -> None:
    base = {
        "shop/__init__.py": "",
        "shop/prices.py": "def price(amount):\n    return amount\n",
        "shop/bill.py": "import requests\nfrom shop.prices import price\n\nTOTAL = price(5)\nrequests.anything(1)\n",
    }
    head = {**base, "shop/prices.py": "def price(amount, currency):\n    return amount\n"}
    finding = only(reviewed(base, head, trees=True))

    assert (finding.path, finding.line, finding.rule) == ("shop/prices.py", 1, "ty/missing-argument")
    assert "`shop/bill.py:4`" in finding.message
    with_callers = {**head, "shop/bill.py": base["shop/bill.py"].replace("price(5)", 'price(5, "EUR")')}
    assert seen(reviewed(base, with_callers, trees=True)) == []


def test_a_deleted_module_that_is_still_imported_is_told() -> None:
    base = {"pkg/__init__.py": "", "pkg/old.py": "X = 1\n", "pkg/use.py": "from pkg.old import X\n\nprint(X)\n"}
    result = reviewed(base, {path: text for path, text in base.items() if path != "pkg/old.py"}, trees=True)

    assert seen(result) == [("pkg/old.py", 1, "ty/import-not-found")]
    assert "`pkg/use.py:1`" in only(result).message


def test_a_tool_that_fails_costs_only_what_it_alone_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Oxlint, sources: Mapping[str, Text]) -> AbstractContextManager[object]:
        raise ToolFailed("oxlint ended with 3")

    monkeypatch.setattr(Oxlint, "run", broken)
    result = reviewed({}, {"a.js": "debugger;\n", "b.js": "x.innerHTML = `${y}`;\n", "c.py": "eval(input())\n"})

    assert seen(result) == [("b.js", 1, "switchyard/js-inner-html"), ("c.py", 1, "S307")]
    assert result.notes == ("oxlint did not read 2 files: oxlint ended with 3",)
    assert result.coverage[0].reason == "not read in full: oxlint ended with 3"


def test_a_tool_that_goes_on_failing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def broken(self: Oxlint, sources: Mapping[str, Text]) -> AbstractContextManager[object]:
        runs.append(len(sources))
        raise ToolFailed("no")

    monkeypatch.setattr(Oxlint, "run", broken)
    monkeypatch.setattr(running, "MAX_FAILURES", 3)
    result = reviewed({}, {f"{n}.js": "debugger;\n" for n in range(40)})

    assert len(runs) < 15
    assert any("given up" in file.reason for file in result.coverage)


def test_suggestions_are_offered_where_they_apply_and_add_nothing() -> None:
    base = {"a.py": "import yaml\n\n", "Dockerfile": "FROM python:3.12-slim\n"}
    head = {
        "a.py": base["a.py"] + "X = yaml.load(text, Loader=yaml.Loader)\n",
        "Dockerfile": base["Dockerfile"] + "ADD a /b\n",
    }
    result = reviewed({**base}, head | {"a.py": head["a.py"].replace("text", "'a: 1'")})

    assert {found.rule: found.suggestion for found in result.findings} == {
        "S506": "X = yaml.safe_load('a: 1')",
        "DL3020": "COPY a /b",
    }


def test_a_suggestion_that_breaks_or_adds_a_finding_or_changes_nothing_is_withdrawn() -> None:
    change = change_of({"a.py": "X = 2\n"}, {"a.py": "X = eval('1')\nX = 1  # same\n"})
    (finding,) = EmbeddedReviewer([Ruff()]).review(change).findings
    texts = ["X = eval(", "X = exec('1')", "X = eval('1')", "X = 1"]
    outside = replace(finding, line=9, end_line=9, suggestion="X = 1")
    offered = [*(replace(finding, suggestion=text) for text in texts), outside]

    kept = [found.suggestion for found in suggestions.verify(change, offered)]

    assert kept == [None, None, None, "X = 1", None]


def test_analysers_have_no_network_no_environment_and_no_more_than_their_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SWITCHYARD_TEST_SECRET", "x")
    look = "import os, json, resource, socket; print(json.dumps([sorted(os.environ), os.listdir('.'), "
    look += "[n for _, n in socket.if_nameindex()], resource.getrlimit(resource.RLIMIT_AS)[0]]))"
    done, output = ran("-c", look)
    names, files, interfaces, memory = json.loads(output)

    assert done.code == 0
    assert "SWITCHYARD_TEST_SECRET" not in names
    assert files == []
    assert done.refused or interfaces in ([], ["lo"])
    assert memory == sandbox.Limits().memory_bytes
    assert examine()[0].state == ("warning" if done.refused else "ok")


def test_a_run_that_takes_too_long_or_too_much_is_ended() -> None:
    with pytest.raises(sandbox.SandboxFailed, match=r"took more than 0\.3 s"):
        ran("-c", "import time; time.sleep(60)", limits=sandbox.Limits(wall_seconds=0.3))
    greedy, _ = ran("-c", "x = bytearray(900_000_000)", limits=sandbox.Limits(memory_bytes=300_000_000))
    assert "MemoryError" in greedy.errors
    wordy, _ = ran("-c", "open('f', 'wb').write(bytes(2_000_000))", limits=sandbox.Limits(file_bytes=1_000_000))
    assert wordy.code != 0


def test_what_the_kernel_refuses_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = Path(tempfile.mkdtemp()) / "launcher.py"
    text = sandbox.LAUNCHER.read_text().replace("libc.unshare(", "(lambda _: -1)(")
    refusing.write_text(text)
    monkeypatch.setattr(sandbox, "LAUNCHER", refusing)
    sandbox._refusal_logged.clear()

    first, _ = ran("-c", "")
    second, _ = ran("-c", "")

    assert (first.code, second.code) == (0, 0)
    assert "no network namespace" in first.refused
    assert len(caplog.records) == 1
    refusing.unlink()
    refusing.parent.rmdir()


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("node_modules/a.js", b"", "vendored: code of others"),
        ("yarn.lock", b"", "a lock file"),
        ("a.min.js", b"", "minified"),
        ("a_pb2.py", b"", "generated, by its name"),
        ("a.png", b"", "binary"),
        ("a.js", b"x" * 6000, "minified, by the length of its lines"),
        ("a.go", b"// Code generated by protoc. DO NOT EDIT.\n", "generated, by its own word"),
        ("a.js", b"x" * 1_100_000, "it has 1,100,000 bytes; files of up to 1,048,576 are read"),
        ("a.py", b"# a note on generated code\nX = 1\n", ""),
    ],
)
def test_what_nobody_wrote_is_not_read(path: str, content: bytes, reason: str) -> None:
    assert (why_path_not_read(path) or why_not_read(path, content)) == reason


def test_secrets_are_masked_in_any_text_and_placeholders_are_none() -> None:
    assert secret_patterns.mask(f"+ token = '{TOKEN}'\n") == "+ token = '••••'\n"
    for text in (
        'password = "changeme"',
        'token = "${TOKEN}"',
        'api_key = os.environ["API_KEY"]',
        'TOKEN_URL = "/oauth"',
    ):
        assert secret_patterns.find(text) == []


def test_nothing_of_a_long_token_stays() -> None:
    more = letters("more", 40, "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    for token in (f"ghs_{TOKEN[4:]}{more}", f"ghs_eyJ{TOKEN[4:]}.{more}.x-Y_{more}"):
        assert secret_patterns.mask(f"call('{token}')") == "call('••••')"
        assert secret_patterns.mask(f"api_token = '{token}+{more}'") == "api_token = '••••'"
