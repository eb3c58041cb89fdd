"""Who uses a definition, by the names that stand in an index: the likeliest first, as names are not unique."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reviews.code.breaking import ChangedDefinition
from reviews.code.languages import language_of
from reviews.code.symbols import CALL, IMPORT
from reviews.models import CodeIndex, Reference, Symbol

#: Of one name. More than so many uses tell nothing that the first ones do not.
MOST_USES = 300
#: A name that is defined in more places is anybody's, unless its file is imported.
FEW_DEFINITIONS = 2
_OWN = frozenset({"self", "cls", "this", "super()", "super", "@"})
#: Languages whose files of one folder see each other without an import.
_BY_FOLDER = frozenset({"go", "java", "c", "cpp", "ruby"})
_FAMILIES = {"tsx": "javascript", "typescript": "javascript", "c": "cpp"}


@dataclass(frozen=True)
class Use:
    """A use of a changed definition. score: how likely it means that one; higher is likelier."""

    definition: ChangedDefinition
    path: str
    blob: str
    kind: str
    line: int
    enclosing: str
    score: float


@dataclass(frozen=True)
class _Row:
    file: int
    path: str
    blob: str
    language: str
    kind: str
    receiver: str
    line: int
    enclosing: str


def uses(index: CodeIndex, definitions: Sequence[ChangedDefinition], outside: Collection[str]) -> list[Use]:
    """Uses in files that are not in `outside`: one for each enclosing definition, the most far-reaching first."""
    rows = {name: _rows(index, name, outside) for name in dict.fromkeys(one.called for one in definitions)}
    imports = _imports({row.file for found in rows.values() for row in found})
    places = _places(index, rows)
    best: dict[tuple[str, str], Use] = {}
    for definition in definitions:
        for row in rows[definition.called]:
            score = _score(definition, row, imports[row.file], places[definition.called])
            if score <= 0:
                continue
            use = Use(definition, row.path, row.blob, row.kind, row.line, row.enclosing, score)
            known = best.get((row.path, row.enclosing))
            if known is None or _rank(use) < _rank(known):
                best[row.path, row.enclosing] = use
    # An import alone says less than the use that it is for.
    used = {use.path for use in best.values() if use.kind != IMPORT}
    return sorted((use for use in best.values() if use.kind != IMPORT or use.path not in used), key=_rank)


def _rank(use: Use) -> tuple[int, float, str, int]:
    return (use.definition.effect, -use.score + (1.5 if "test" in use.path.lower() else 0.0), use.path, use.line)


def _rows(index: CodeIndex, name: str, outside: Collection[str]) -> list[_Row]:
    found = (
        Reference.objects.filter(file__index=index, name=name)
        .exclude(file__path__in=list(outside))
        .order_by("pk")
        .values_list("file", "file__path", "file__blob", "file__language", "kind", "receiver", "line", "enclosing")
    )
    return [_Row(*row) for row in found[:MOST_USES]]


def _imports(files: Iterable[int]) -> dict[int, set[tuple[str, str]]]:
    """File → what it imports: (module, name)."""
    found: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for file, receiver, name in Reference.objects.filter(file__in=list(files), kind=IMPORT).values_list(
        "file", "receiver", "name"
    ):
        found[file].add((receiver, name))
    return found


def _places(index: CodeIndex, names: Iterable[str]) -> dict[str, Counter[int]]:
    """Where each name is defined: file → how often."""
    found: dict[str, Counter[int]] = {name: Counter() for name in names}
    symbols = Symbol.objects.filter(file__index=index, name__in=list(found)).exclude(kind="prototype")
    for name, file in symbols.values_list("name", "file"):
        found[name][file] += 1
    return found


def _score(definition: ChangedDefinition, row: _Row, imports: set[tuple[str, str]], places: Counter[int]) -> float:
    """0 for one that is hardly meant."""
    if _family(row.language) != _family(language_of(definition.path)):
        return 0.0
    is_imported = any(_is_of(definition, module, name) for module, name in imports)
    is_near = PurePosixPath(row.path).parent == PurePosixPath(definition.path).parent
    sees = is_imported or (is_near and row.language in _BY_FOLDER)
    if not sees and (places.total() > FEW_DEFINITIONS or _means_another(definition, row, imports, places)):
        return 0.0
    if row.kind == IMPORT:
        return 2.0 if is_imported else 0.0
    score = 1.0 + (4.0 if sees else 0.0) + (1.0 if is_near else 0.0) + (1.0 if row.kind == CALL else 0.0)
    return score + _by_receiver(definition, row, places.total())


def _means_another(
    definition: ChangedDefinition, row: _Row, imports: set[tuple[str, str]], places: Counter[int]
) -> bool:
    """Whether the file has the name from elsewhere, or defines it itself."""
    if row.receiver:
        return False
    return places[row.file] > 0 or any(name == definition.called for _, name in imports)


def _by_receiver(definition: ChangedDefinition, row: _Row, places: int) -> float:
    outer = definition.outer.rpartition(".")[2]
    if not outer:
        # A function is called on nothing, or on its module.
        return 0.0 if not row.receiver or _last(row.receiver) in _module_names(definition.path) else -3.0
    if row.receiver in _OWN:
        return -2.0
    if _last(row.receiver).strip("_").lower() == outer.lower():
        return 2.0
    return -3.0 if not row.receiver else -2.0 if places > 1 else 0.0


def _family(language: str) -> str:
    return _FAMILIES.get(language, language)


def _last(receiver: str) -> str:
    return receiver.replace("::", ".").rpartition(".")[2]


def _is_of(definition: ChangedDefinition, module: str, name: str) -> bool:
    """Whether an import of a name from a module may mean the file of a definition, or the definition in it."""
    names = _module_names(definition.path)
    parts = [part for part in module.replace("::", ".").replace("/", ".").split(".") if part]
    wanted = {definition.called, definition.outer.partition(".")[0]} - {""}
    if name in wanted:
        return not parts or parts[-1] in names or any(part in names for part in parts)
    stem = name.rpartition(".")[0] or name
    return stem in names or name in names


def _module_names(path: str) -> frozenset[str]:
    """What a file may be called where it is imported: by its own name, or its folder's."""
    pure = PurePosixPath(path)
    names = {pure.stem}
    if pure.stem in ("__init__", "index", "mod", "lib", "main") or pure.suffix in (".go", ".java", ".rs"):
        names.add(pure.parent.name)
    return frozenset(names - {""})
