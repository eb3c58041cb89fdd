"""The embedded reviewer on real git repositories: what is new, and on changed lines, and nothing else."""

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from reviews import git
from reviews.analysis.tools.base import Text, ToolFailed
from reviews.analysis.tools.ruff import Ruff
from reviews.local_source import open_change
from reviews.providers import embedded
from reviews.providers.base import ReviewResult, Severity
from reviews.providers.embedded import EmbeddedReviewer
from reviews.standin.repositories import Repo
from reviews.tests.conftest import between, only, seen, unread

Review = Callable[..., ReviewResult]

LOADS = "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"


def test_a_new_finding_on_an_added_line_is_reported_with_all_that_tells_it(review: Review) -> None:
    result = review({"a.py": "import os\nprint(os.name)\n"}, {"a.py": "import os\nprint(os.name)\neval(input())\n"})

    finding = only(result)
    assert (finding.path, finding.line, finding.end_line, finding.rule) == ("a.py", 3, 3, "S307")
    assert finding.severity is Severity.HIGH
    assert finding.source_line == "eval(input())"
    assert len(finding.fingerprint) == 32


def test_what_base_had_already_is_not_reported(review: Review) -> None:
    result = review({"a.py": LOADS}, {"a.py": LOADS + "\n\nX = 1\n"})

    assert seen(result) == []


def test_lines_pushed_down_or_indented_again_are_not_new(review: Review) -> None:
    indented = "import pickle\nimport os\n\n\ndef load(data):\n    if os.name:\n        return pickle.loads(data)\n"

    assert seen(review({"a.py": LOADS}, {"a.py": indented})) == []


def test_of_two_equal_lines_the_added_one_is_reported(review: Review) -> None:
    base = "def f(x):\n    eval(x)\n    y = 1\n    return y\n"
    head = "def f(x):\n    eval(x)\n    y = 1\n    eval(x)\n    return y\n"

    assert seen(review({"a.py": base}, {"a.py": head})) == [("a.py", 4, "S307")]


def test_an_edit_of_a_line_that_was_found_before_is_not_new(review: Review) -> None:
    base = "import subprocess\nsubprocess.run(['/bin/ls', '-l'])\n"

    assert seen(review({"a.py": base}, {"a.py": base.replace("'-l'", "'-a'")})) == []


def test_another_rule_on_an_edited_line_is_new(review: Review) -> None:
    base = "import subprocess\nsubprocess.run(['/bin/ls'])\n"
    head = "import subprocess\nsubprocess.run(input(), shell=True)\n"

    assert seen(review({"a.py": base}, {"a.py": head})) == [("a.py", 2, "S602")]


def test_an_argument_added_some_lines_below_the_call_is_told_at_its_own_line(review: Review) -> None:
    base = 'import subprocess\nsubprocess.run(\n    input(),\n    check=True,  # (\n    env={"A": ")"},\n)\n'
    head = base.replace("\n)\n", "\n    shell=True,\n)\n")

    assert seen(review({"a.py": base}, {"a.py": head})) == [("a.py", 6, "S602")]


def test_a_finding_caused_by_the_change_but_on_an_unchanged_line_is_left_out(review: Review) -> None:
    result = review({"a.py": "import os\nX = 1\nprint(os.name)\n"}, {"a.py": "import os\nX = 1\nprint(X)\n"})

    assert seen(result) == []  # the import is unused now, but its line is not part of the change


def test_a_renamed_file_is_compared_with_what_it_was(review: Review) -> None:
    padding = "".join(f"V{n} = {n}\n" for n in range(30))
    result = review({"old.py": LOADS + padding}, {"old.py": None, "new.py": LOADS + padding + "eval('1')\n"})

    assert seen(result) == [("new.py", 36, "S307")]


def test_a_pure_rename_has_no_findings(review: Review) -> None:
    assert seen(review({"old.py": LOADS}, {"old.py": None, "new.py": LOADS})) == []


def test_a_deleted_file_has_no_findings_and_is_told(review: Review) -> None:
    result = review({"a.py": LOADS, "b.py": "x = 1\n"}, {"a.py": None})

    assert seen(result) == []
    assert [(file.path, file.read) for file in result.coverage] == [("a.py", True)]


def test_code_moved_to_another_file_is_not_new(review: Review) -> None:
    rest = "".join(f"def g{n}(a):\n    return a + {n}\n\n\n" for n in range(20))
    block = "def load(data):\n    value = 1\n    return eval(data, value)\n"
    result = review({"a.py": rest + block, "b.py": "B = 1\n"}, {"a.py": rest, "b.py": "B = 1\n\n\n" + block})

    assert seen(result) == []


def test_copied_code_is_new_where_it_was_copied_to(review: Review) -> None:
    result = review({"a.py": LOADS}, {"b.py": LOADS})

    assert seen(result) == [("b.py", 5, "S301")]


def test_a_finding_leaves_one_file_and_another_of_its_kind_appears_elsewhere(review: Review) -> None:
    result = review(
        {"a.py": "import os\n\nA = 1\n", "b.py": "B = 1\n"}, {"a.py": "A = 1\n", "b.py": "import os\nB = 1\n"}
    )

    assert seen(result) == [("b.py", 1, "F401")]  # the neighbours differ: nothing was moved


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_numbers_are_gits_whatever_ends_a_line(review: Review, newline: str) -> None:
    base = newline.join(["A = 1", "B = 2", ""]).encode() + b"C = 3\nD = 4\n"
    result = review({"a.py": base}, {"a.py": base + b"eval(input())\n"})

    assert only(result).line == (base.count(b"\n") + 1)


def test_a_change_of_line_ends_makes_nothing_new(review: Review) -> None:
    assert seen(review({"a.py": LOADS}, {"a.py": LOADS.replace("\n", "\r\n")})) == []


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("byte order mark", b"\xef\xbb\xbfX = 1\neval(input())\n"),
        ("latin-1 by cookie", b"# -*- coding: latin-1 -*-\nX = 'caf\xe9'; eval(input())\n"),
        ("utf-8 beyond the first plane", "X = '🚂'\neval(input())\n".encode()),
        ("no newline at the end", b"X = 1\neval(input())"),
        ("form feed", b"X = 1\n\x0ceval(input())\n"),
    ],
)
def test_source_in_every_encoding_is_read(review: Review, name: str, head: bytes) -> None:
    result = review({"a.py": b"X = 1\n"}, {"a.py": head})

    assert seen(result) == [("a.py", 2, "S307")]


def test_bytes_that_python_refuses_are_told_once_and_the_rest_is_read(review: Review) -> None:
    result = review({"a.py": b"X = 1\n"}, {"a.py": b"X = 1\nY = '\xff\xfe'\nZ = '\xff'\neval(input())\n"})

    assert seen(result) == [("a.py", 2, "E902"), ("a.py", 4, "S307")]


@pytest.mark.parametrize("cookie", ["nonsense", "zlib", "rot13", "punycode", "undefined", "utf-16"])
def test_a_coding_cookie_that_names_no_usable_encoding_is_told(review: Review, cookie: str) -> None:
    result = review({"a.py": b"X = 1\n"}, {"a.py": f"# coding: {cookie}\nX = 1\n".encode()})

    assert [found.rule for found in result.findings] in (["E902"], [])
    assert all(file.read for file in result.coverage)
    assert result.coverage[0].reason


@pytest.mark.parametrize("head", [b"X = 1\0\nY = 2\n", b"\0\n", b"\xff\xfeX\0=\0001\0\n\0"])
def test_nul_bytes_are_an_error_of_the_file(review: Review, head: bytes) -> None:
    result = review({"a.py": b"X = 1\n"}, {"a.py": head})

    assert only(result).rule in ("invalid-syntax", "E902")


def test_a_syntax_error_is_told_once_though_the_parser_says_more(review: Review) -> None:
    result = review({"a.py": "X = 1\n"}, {"a.py": "X = 1\ny = (\n\n\ndef f(:\n    pass\n"})

    assert only(result).rule == "invalid-syntax"
    assert "parse" in result.coverage[0].reason


def test_a_syntax_error_below_the_change_is_told_at_the_nearest_changed_line(review: Review) -> None:
    base = "x = [\n    1,\n]\ny = 2\nz = 3\n"
    result = review({"a.py": base}, {"a.py": "x = [\n    1,\n    7,\ny = 2\nz = 3\n"})

    assert (only(result).line, only(result).rule) == (3, "invalid-syntax")
    assert "parser stops at line 4" in only(result).message


def test_a_file_that_was_broken_before_is_not_reported_again(review: Review) -> None:
    assert seen(review({"a.py": "def f(:\n"}, {"a.py": "def f(:\n\nX = 1\n"})) == []


def test_an_empty_file_and_a_file_made_empty_are_read(review: Review) -> None:
    result = review({"a.py": LOADS}, {"a.py": "", "b.py": ""})

    assert seen(result) == []
    assert all(file.read for file in result.coverage)


def test_what_no_analyser_reads_is_named_with_the_reason(review: Review) -> None:
    result = review({"keep.py": "x = 1\n"}, {"notes.md": "eval\n", "b.ipynb": "{}", "img.png": b"\x89PNG\0"})

    assert unread(result) == {
        "notes.md": "searched for secrets only: no analyser reads this kind of file",
        "b.ipynb": "a notebook; only source files are read",
        "img.png": "binary",
    }


def test_links_and_submodules_are_not_followed(repo: Repo) -> None:
    base = repo.commit({"a.py": "x = 1\n"})
    (repo.path / "link.py").symlink_to("/etc/hostname")
    repo.git("add", "link.py")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{base},vendored.py")
    repo.git("commit", "-qm", "a link and a submodule")

    assert unread(between(repo, base, "HEAD")) == {"link.py": "a symbolic link", "vendored.py": "a submodule"}


def test_a_link_that_becomes_a_file_is_new_as_a_whole(repo: Repo) -> None:
    (repo.path / "a.py").symlink_to("/etc/hostname")
    base = repo.commit({})
    (repo.path / "a.py").unlink()
    repo.commit({"a.py": "X = 1\neval(input())\n"})

    assert seen(between(repo, base, "HEAD")) == [("a.py", 2, "S307")]


@pytest.mark.parametrize(
    "name",
    ["with space.py", 'quo"te.py', "new\nline.py", "-dash.py", "tab\t.py", "ünï/çödé🚂.py", "@{u}.py", ":(top)x.py"],
)
def test_paths_of_every_kind_are_followed(review: Review, name: str) -> None:
    result = review({name: "X = 1\n"}, {name: "X = 1\neval(input())\n"})

    assert seen(result) == [(name, 2, "S307")]


def test_a_path_that_is_not_utf_8_is_shown_with_its_bytes(repo: Repo) -> None:
    base = repo.commit({"a.py": "x = 1\n"})
    (repo.path / os.fsdecode(b"caf\xe9.py")).write_bytes(b"eval(input())\n")
    head = repo.commit({})
    assert seen(between(repo, base, head)) == [("caf\\xe9.py", 1, "S307")]


def test_a_file_of_17_megabytes_is_named_and_the_others_are_read(review: Review) -> None:
    result = review({"a.py": "A = 1\n"}, {"big.py": "x = 1\n" * 3_000_000, "a.py": "A = 1\neval(input())\n"})

    assert seen(result) == [("a.py", 2, "S307")]
    assert unread(result) == {"big.py": "it has 18,000,000 bytes; files of up to 1,048,576 are read"}


def test_a_file_above_the_limit_is_named_and_the_others_are_read(review: Review) -> None:
    result = review({"a.py": "A = 1\n"}, {"big.py": b"#" * (64 * 1024 * 1024 + 1), "a.py": "A = 1\neval(input())\n"})

    assert seen(result) == [("a.py", 2, "S307")]
    assert "67,108,865 bytes" in unread(result)["big.py"]


def test_within_a_budget_the_most_severe_are_kept(review: Review) -> None:
    lines = [f"import module{n}" for n in range(12)] + ["eval(input())"]
    result = review({"a.py": "X = 1\n"}, {"a.py": "X = 1\n" + "\n".join(lines) + "\n"})
    assert (len(result.findings), result.left_out) == (13, 0)

    result = result.within(10)

    assert (len(result.findings), result.left_out) == (10, 3)
    assert result.findings[0].rule == "S307"


def test_the_repositorys_own_linter_settings_are_not_read(review: Review) -> None:
    settings = '[tool.ruff]\nexclude = ["*.py"]\n[tool.ruff.lint]\nselect = []\n'
    files = {"pyproject.toml": settings, "ruff.toml": 'exclude = ["a.py"]\n', ".gitattributes": "*.py binary -diff\n"}
    result = review({"a.py": "X = 1\n", **files}, {"a.py": "X = 1\neval(input())\n"})

    assert seen(result) == [("a.py", 2, "S307")]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("diff.orderFile", ".nothere"),
        ("diff.algorithm", "foo"),
        ("diff.renameLimit", "many"),
        ("diff.renames", "false"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.relative", "true"),
        ("diff.context", "0"),
        ("diff.interHunkContext", "99"),
        ("diff.submodule", "log"),
        ("diff.ignoreSubmodules", "all"),
        ("diff.wsErrorHighlight", "nonsense"),
        ("diff.colorMoved", "nonsense"),
        ("color.ui", "always"),
        ("color.diff.new", "nonsense"),
        ("core.whitespace", "tabwidth=nonsense"),
    ],
)
def test_the_repositorys_own_git_settings_are_not_read(repo: Repo, setting: str, value: str) -> None:
    base = repo.commit({"old.py": LOADS, "b.py": "B = 1\n"})
    head = repo.commit({"old.py": None, "pkg/new.py": LOADS + "eval('1')\n", "b.py": "B = 1\nexec(input())\n"})
    plain = between(repo, base, head)
    (repo.path / ".git" / "config").open("a").write(config_section(setting, value))

    assert seen(plain) == [("b.py", 2, "S102"), ("pkg/new.py", 6, "S307")]
    assert between(repo, base, head) == plain


def config_section(setting: str, value: str) -> str:
    *section, name = setting.split(".")
    heading = section[0] if len(section) == 1 else f'{section[0]} "{section[1]}"'
    return f"[{heading}]\n\t{name} = {value}\n"


@pytest.mark.parametrize("kind", ["linked working tree", "borrowed objects", "sha256"])
def test_objects_are_found_wherever_git_keeps_them(repo: Repo, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    if kind == "sha256":
        other.mkdir()
        subprocess.run(["git", "init", "-q", "-b", "main", "--object-format=sha256", "."], cwd=other, check=True)
        repo = Repo(other)
    base = repo.commit({"a.py": "A = 1\n"})
    head = repo.commit({"a.py": "A = 1\neval(input())\n"})
    if kind == "linked working tree":
        repo.git("worktree", "add", "-q", str(other), base)
    elif kind == "borrowed objects":
        repo.git("clone", "-q", "--shared", str(repo.path), str(other))

    with open_change(other, base, head) as change:
        assert seen(EmbeddedReviewer().review(change)) == [("a.py", 2, "S307")]


def test_a_file_whose_diff_takes_too_long_costs_only_itself(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "PATCH_TIMEOUT_SECONDS", 0.0)

    result = review({"a.py": "A = 1\n"}, {"a.py": "A = 1\neval(input())\n", "added.py": "eval(input())\n"})

    assert seen(result) == [("added.py", 1, "S307")]
    assert unread(result) == {"a.py": "its diff cannot be had: git diff: git took more than 0 s"}


def test_what_is_dangerous_elsewhere_is_left_alone_in_tests(review: Review) -> None:
    source = "import pickle\npickle.loads(b'')\n"
    result = review({}, {"tests/test_a.py": source, "app.py": source})

    assert {path for path, _, _ in seen(result)} == {"app.py"}


def test_what_the_author_has_answered_for_is_left_alone(review: Review) -> None:
    head = "eval(input())  # noqa: S307\nexec(input())  # nosec\neval(input())\n"

    assert seen(review({"a.py": "\n"}, {"a.py": head})) == [("a.py", 3, "S307")]


def test_the_newest_syntax_is_no_error(review: Review) -> None:
    head = 'type Rows[T] = list[T]\nprint(f"{"nested"}")\nmatch input():\n    case _:\n        pass\n'

    assert seen(review({"a.py": "X = 1\n"}, {"a.py": head})) == []


def test_base_is_where_the_branches_parted(repo: Repo) -> None:
    repo.commit({"a.py": "A = 1\n", "b.py": "B = 1\n"})
    repo.git("checkout", "-qb", "topic")
    repo.commit({"a.py": "A = 1\neval(input())\n"})
    repo.git("checkout", "-q", "main")
    repo.commit({"b.py": "B = 1\nexec(input())\n"})
    assert seen(between(repo, "main", "topic")) == [("a.py", 2, "S307")]


def test_branches_without_a_common_ancestor_are_compared_and_that_is_said(repo: Repo) -> None:
    repo.commit({"a.py": "A = 1\n"})
    repo.git("checkout", "-q", "--orphan", "other")
    repo.commit({"a.py": "A = 1\neval(input())\n"})
    result = between(repo, "main", "other")
    assert seen(result) == [("a.py", 2, "S307")]
    assert "no common ancestor" in result.notes[0]


def test_a_file_that_stops_the_linter_costs_only_itself(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Ruff.run

    def stopped_by_poison(self: Ruff, sources: Mapping[str, Text]) -> AbstractContextManager[object]:
        if any("poison" in source.text for source in sources.values()):
            raise ToolFailed("ruff took more than 30 s")
        return run(self, sources)

    monkeypatch.setattr(Ruff, "run", stopped_by_poison)
    result = review({"a.py": "A = 1\n"}, {"a.py": "A = 1\neval(input())\n", "b.py": "poison = 1\n"})

    assert seen(result) == [("a.py", 2, "S307")]
    assert unread(result) == {"b.py": "ruff took more than 30 s"}
    assert result.notes == ("ruff did not read 1 file: ruff took more than 30 s",)


@pytest.mark.long
def test_a_finding_below_thousands_that_were_there_is_found(review: Review) -> None:
    base = "X = 1\n" + "exec(X)\n" * 22_000
    result = review({"a.py": base}, {"a.py": base + "eval(input())\n"})

    assert seen(result) == [("a.py", 22_002, "S307")]
    assert result.coverage[0].reason == ""


@pytest.mark.long
def test_one_more_of_thousands_of_equal_lines_is_one_finding(review: Review) -> None:
    base = "X = 1\n" + "exec(X)\n" * 15_000
    result = review({"a.py": base}, {"a.py": base.replace("X = 1\n", "X = 1\nexec(X)\n\n\n")})

    assert [rule for _, _, rule in seen(result)] == ["S102"]


@pytest.mark.long
def test_thousands_of_edited_lines_are_compared(review: Review) -> None:
    def lines(text: str) -> str:
        return "".join(text.format(number) + "\n" for number in range(6_000))

    names = ("a.py", "b.py")
    same = {"same.py": lines("x{} = undefined")}
    before = {name: lines("x = name{}") for name in names} | same
    after = {name: lines("y = other{}") for name in names} | {"same.py": lines("y{} = undefined")}

    result = review(before, after)

    assert {path for path, _, _ in seen(result)} == set(names)  # in same.py each line says what it said
    assert len(result.findings) == 12_000


def test_a_file_with_more_findings_than_are_kept_is_not_said_to_be_read_in_full(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "MAX_OBSERVATIONS_A_FILE", 5)
    result = review({"b.py": "B = 1\n"}, {"a.py": "exec(input())\n" * 8, "b.py": "exec(input())\n"})

    assert [file.reason for file in result.coverage] == [
        "not read in full: only the first 5 findings on its changed lines were looked at",
        "",
    ]
    assert len(result.findings) == 6


def test_a_base_of_which_not_all_is_kept_makes_nothing_new(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_OBSERVATIONS_A_FILE", 5)
    result = review({"a.py": "exec(input())\n" * 8}, {"a.py": "exec(input())\n" * 9})

    assert seen(result) == []
    assert unread(result) == {"a.py": "what it was at base is not known: more than 5 findings there are alike"}


def test_a_line_that_stays_where_it_was_is_not_taken_for_moved(review: Review) -> None:
    block = "Y = 1\nexec(Y)\nZ = 1\n"
    result = review({"a.py": block, "b.py": "B = 1\n"}, {"a.py": block + "A = 1\n", "b.py": "B = 1\n" + block})

    assert seen(result) == [("b.py", 3, "S102")]


def test_of_equal_lines_the_removed_one_is_the_one_that_moved(review: Review) -> None:
    gone = "def g(x):\n    first = 1\n    exec(x)\n    return first\n"
    kept = "def g(x):\n    other = 2\n    exec(x)\n    return other\n"
    result = review({"a.py": kept + "\n\n" + gone, "b.py": "B = 1\n"}, {"a.py": kept, "b.py": "B = 1\n\n\n" + gone})

    assert seen(result) == []
