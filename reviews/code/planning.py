"""What an index has to read: the files of a commit against those that it knows."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from reviews.code import languages
from reviews.code.languages import Entry
from reviews.models import CodeFile, CodeIndex
from reviews.paths import PathPatterns

MAX_FILES = 50_000


@dataclass(frozen=True)
class Work:
    """A file to read. known: the row that it has, by its path or, where `is_moved`, by its blob."""

    entry: Entry
    known: int | None = None
    is_moved: bool = False


@dataclass
class Plan:
    """work: by path. gone: rows whose file is gone. skipped: reason → files that are not read. unchanged: rows."""

    work: list[Work] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0


def plan(index: CodeIndex, entries: Iterable[Entry], excluded: PathPatterns) -> Plan:
    """Compare a commit's files with the rows of an index."""
    made = Plan()
    wanted = _wanted(made, entries, excluded)
    rows = CodeFile.objects.filter(index=index).values_list("pk", "path", "blob", "language")
    known = {path: (pk, blob) for pk, path, blob, _ in rows}
    leaving: dict[tuple[str, str], list[int]] = defaultdict(list)
    for pk, path, blob, language in rows:
        if path not in wanted:
            leaving[blob, language].append(pk)
    for path, entry in wanted.items():
        row = known.get(path)
        moved = leaving.get((entry.blob, languages.language_of(path)))
        if row is not None and row[1] == entry.blob:
            made.unchanged += 1
        elif row is not None:
            made.work.append(Work(entry, row[0]))
        elif moved:
            made.work.append(Work(entry, moved.pop(), is_moved=True))
        else:
            made.work.append(Work(entry))
    made.gone = [pk for left in leaving.values() for pk in left]
    return made


def _wanted(made: Plan, entries: Iterable[Entry], excluded: PathPatterns) -> dict[str, Entry]:
    wanted: dict[str, Entry] = {}
    for entry in entries:
        reason = languages.why_not(entry, excluded) or (languages.TOO_MANY if len(wanted) >= MAX_FILES else "")
        if reason:
            made.skipped[reason] += 1
        else:
            wanted[entry.path] = entry
    return wanted
