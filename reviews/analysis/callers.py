"""What a change defines otherwise than before, and which files mention it."""

import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reviews.analysis import definitions, sandbox, ty
from reviews.analysis.definitions import Definition
from reviews.analysis.eligibility import MAX_FILE_BYTES
from reviews.analysis.source import Source, decode, is_python
from reviews.analysis.tools.base import ToolFailed
from reviews.changes import ContentUnavailable, FileChange, FileKind, Side
from reviews.paths import BadPattern, PathPatterns

MAX_LIKELY = 120
MAX_POSSIBLE = 40
MAX_SCANNED_FILES = 20_000
MAX_SCANNED_BYTES = 200 * 1024 * 1024
_NOT_SCANNED = frozenset({".git", "node_modules", ".venv", "venv", "site-packages", "__pycache__", ".tox"})
_MODULE = re.compile(r"module `([\w.]+)`", re.IGNORECASE)
_QUOTED = re.compile(r"`([\w.]+)`")
# Made when a project is built or installed, so no tree has them.
_MADE = re.compile(r"(^|[._])(version|pb2|pb2_grpc|_?generated|_build|_?git)(_|$)|^_\w+$")


@dataclass(frozen=True)
class ChangedDefinition:
    """Something that head defines otherwise, or no longer. path: of its file at head; row, end_row: of its signature
    at head, or at base if it is gone; line: the first of these, blanks folded."""

    path: str
    name: str
    row: int
    end_row: int
    is_gone: bool
    line: str

    @property
    def words(self) -> frozenset[str]:
        parts = self.name.split(".")
        return frozenset(parts[-2:] if parts[-1] == "__init__" else parts[-1:])

    def anchor(self, file: FileChange) -> int | None:
        """A line of head to tell of it at: a changed one of its signature, or where it was; None if none is shown."""
        if file.head is None:
            return 1
        try:
            if not self.is_gone:
                return file.changed_lines.first_within(self.row, self.end_row)
            for hunk in file.hunks:
                for block in hunk.blocks:
                    if self.row in block.removed:
                        return block.added.start if block.added else _beside(block.removed, hunk.old, hunk.new)
        except ContentUnavailable:
            return None
        return file.changed_lines.nearest(1)


def _beside(removed: range, old: range, new: range) -> int | None:
    """Where lines are only gone: a line of context of the same hunk, as GitHub shows it there."""
    return min(max(new.start, new.start + removed.start - old.start), new.stop - 1) if new else None


def is_regular(tree: Path, path: str) -> bool:
    """Whether a tree has a file there that is no link, nor behind one."""
    file = tree / path
    return file.is_file() and file.resolve() == (tree.resolve() / path) and file.stat().st_size <= MAX_FILE_BYTES


def changed_definitions(files: Sequence[FileChange]) -> list[ChangedDefinition]:
    """What the changed files define otherwise. Raises ToolFailed, ContentUnavailable."""
    heads = {file.path: text for file in files if (text := _text(file.head, file.path)) is not None}
    bases = {file.path: text for file in files if (text := _text(file.base, file.old_path or file.path)) is not None}
    at_head, at_base = _defined(heads, bases)
    changed = []
    for file in files:
        before, after = at_base.get(file.path), at_head.get(file.path, [] if file.head is None else None)
        if before is None or after is None:
            continue
        now = {one.name: one for one in after}
        for old in before:
            new = now.get(old.name)
            if new is None or file.old_path not in (None, file.path):
                changed.append(_changed(file.path, old, bases[file.path], is_gone=True))
            elif (new.kind, new.shape) != (old.kind, old.shape):
                changed.append(_changed(file.path, new, heads[file.path], is_gone=False))
    return changed


def _text(side: Side | None, path: str) -> str | None:
    if side is None or side.kind is not FileKind.REGULAR or not is_python(path):
        return None
    content = side.load()
    return decode(content)[0] if len(content) <= MAX_FILE_BYTES else None


def _changed(path: str, one: Definition, text: str, *, is_gone: bool) -> ChangedDefinition:
    return ChangedDefinition(path, one.name, one.row, one.end_row, is_gone, Source(text).line(one.row))


def _defined(*sides: Mapping[str, str]) -> list[dict[str, list[Definition]]]:
    """What modules define, by their paths, for each side's texts; those that cannot be read are left out."""
    if not any(sides):
        return [{} for _ in sides]
    with sandbox.folder() as own, tempfile.TemporaryFile() as output:
        names = [[f"{side}-{number}" for number in range(len(texts))] for side, texts in enumerate(sides)]
        for texts, listed in zip(sides, names, strict=True):
            for text, name in zip(texts.values(), listed, strict=True):
                (own / name).write_bytes(text.encode("utf-8", "replace"))
        (own / "names.json").write_text(json.dumps([name for listed in names for name in listed]))
        argv = [sys.executable, "-I", "-S", definitions.__file__, str(own)]
        try:
            ran = sandbox.run(argv, cwd=own, stdout=output)
        except sandbox.SandboxFailed as exc:
            raise ToolFailed(str(exc)) from None
        if ran.code:
            raise ToolFailed(f"reading definitions ended with {ran.code}")
        answer = json.load(output)
    return [
        {path: [Definition(**one) for one in answer[name]] for path, name in zip(texts, listed, strict=True)
         if answer.get(name) is not None}
        for texts, listed in zip(sides, names, strict=True)
    ]  # fmt: skip


def mentioning(changed: Sequence[ChangedDefinition], tree: Path, known: set[str]) -> tuple[list[str], bool]:
    """Python files, other than the known ones, that may use what is changed, and whether there are more.

    A name counts where the module's own name stands too; a method also where it stands after a dot. Files with both
    come first.
    """
    groups = _patterns(changed)
    likely: list[str] = []
    possible: list[str] = []
    for path in _python_files(tree) if groups else ():
        if path in known:
            continue
        content = (tree / path).read_bytes()
        for modules, words, methods in groups:
            if words.search(content) and modules.search(content):
                likely.append(path)
                break
            if methods is not None and path not in possible[-1:] and methods.search(content):
                possible.append(path)
    seen = set(likely)
    others = [path for path in possible if path not in seen]
    cut = len(likely) > MAX_LIKELY or len(others) > MAX_POSSIBLE
    return [*likely[:MAX_LIKELY], *others[:MAX_POSSIBLE]], cut


_Pattern = re.Pattern[bytes]


def _patterns(changed: Sequence[ChangedDefinition]) -> list[tuple[_Pattern, _Pattern, _Pattern | None]]:
    """For each changed file: its module's name, what it defines otherwise, and methods among these."""
    by_file: dict[str, list[ChangedDefinition]] = defaultdict(list)
    for one in changed:
        if not one.name.rpartition(".")[2].startswith(("test_", "__")) or one.name.endswith("__init__"):
            by_file[one.path].append(one)
    patterns = []
    for path, some in by_file.items():
        pure = PurePosixPath(path)
        module = pure.parent.name if pure.stem == "__init__" else pure.stem
        words = {word for one in some for word in one.words}
        methods = {word for one in some if "." in one.name for word in one.words if len(word) > 3}
        patterns.append((_any_of([module]), _any_of(words), _any_of(methods, rb"\.") if methods else None))
    return patterns


def _any_of(words: Iterable[str], before: bytes = rb"\b") -> _Pattern:
    return re.compile(before + b"(?:" + b"|".join(re.escape(word.encode()) for word in sorted(words)) + rb")\b")


def _python_files(tree: Path) -> Iterator[str]:
    count = size = 0
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(name for name in folders if name not in _NOT_SCANNED)
        for name in sorted(names):
            if not is_python(name):
                continue
            path = (Path(folder) / name).relative_to(tree).as_posix()
            if is_regular(tree, path):
                count, size = count + 1, size + (tree / path).stat().st_size
                if count > MAX_SCANNED_FILES or size > MAX_SCANNED_BYTES:
                    return
                yield path


def cause_of(said: ty.Broken, line: str, changed: Iterable[ChangedDefinition]) -> ChangedDefinition | None:
    """The changed definition that what ty says is about; None if it cannot be told."""
    named = {part for name in _QUOTED.findall(said.message) for part in name.split(".")[-2:]}
    candidates = [one for one in changed if one.words & named]
    modules = {part for name in _MODULE.findall(said.message) for part in name.split(".")}
    near = [one for one in candidates if PurePosixPath(one.path).stem in modules]
    for one in (*near, *candidates):
        if one.words & named:
            return one
    stems = [one for one in changed if one.is_gone and PurePosixPath(one.path).stem in modules]
    in_line = [one for one in changed if any(re.search(rf"\b{re.escape(word)}\b", line) for word in one.words)]
    return next(iter((*stems, *in_line)), None)


def is_first_party(said: ty.Broken, tree: Path) -> bool:
    """Whether it is about the repository's own modules; what is made when it is built is not judged."""
    if said.rule not in ("import-not-found", "missing-module-member", "missing-attribute"):
        return True
    module = next(iter(_MODULE.findall(said.message)), "")
    if not module:
        return said.message.startswith("Object of type")
    parts = module.split(".")
    member = _QUOTED.findall(said.message)[-1].split(".")[-1]
    if any(_MADE.search(part) for part in (parts[-1], member)) or _is_guarded(tree / said.path, said.row):
        return False
    root = next((root for root in (tree, tree / "src") if (root / parts[0]).is_dir()), None)
    if root is None or not any((root / parts[0]).glob("*.py")):
        return said.rule != "import-not-found"
    return not _has_other_source(root.joinpath(*parts)) and not _is_ignored(tree, root.joinpath(*parts))


def _has_other_source(module: Path) -> bool:
    """Whether something that is not Python is compiled to it, or to a part of it."""
    suffixes = (".pyx", ".c", ".cpp", ".rs", ".so", ".pyd", ".proto", ".y", ".in")
    folders = [folder for folder in (module.parent, module) if folder.is_dir()]
    return any(file.suffix in suffixes for folder in folders for file in folder.iterdir())


def _is_ignored(tree: Path, module: Path) -> bool:
    try:
        lines = (tree / ".gitignore").read_text(encoding="utf-8", errors="replace").split("\n")
        return PathPatterns.of(lines[:2000]).matches(f"{module.relative_to(tree).as_posix()}.py")
    except (OSError, BadPattern):
        return False


def _is_guarded(file: Path, row: int) -> bool:
    """Whether a line is tried, or for checkers only; told from indentation, so that nothing is parsed."""
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    if row > len(lines):
        return False
    indent = len(lines[row - 1]) - len(lines[row - 1].lstrip())
    for line in reversed(lines[: row - 1]):
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth < indent:
            if re.match(
                r"try\s*:|except\b|if\s+(?:typing\.)?TYPE_CHECKING|with\s+(?:contextlib\.)?suppress", line.strip()
            ):
                return True
            indent = depth
    return False
