"""What Python modules define, read from their syntax trees.

A program of its own (`python -I -S definitions.py FOLDER`, with names.json in it), so that hostile source has no
parser of ours to crash; for that it imports nothing of ours.
"""

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Definition:
    """A function, class or name. row, end_row: of its signature, from 1; shape: what callers can tell it by."""

    name: str
    kind: str
    row: int
    end_row: int
    shape: str


def definitions(source: str) -> list[Definition]:
    """What a module defines at its top and in its classes. Raises SyntaxError, ValueError, RecursionError."""
    return list(_of(ast.parse(source).body, ""))


def _of(body: list[ast.stmt], prefix: str) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            shape = f"{ast.dump(node.args)}|{','.join(ast.dump(one) for one in node.decorator_list)}"
            yield Definition(prefix + node.name, "function", node.lineno, _signature_end(node), shape)
        elif isinstance(node, ast.ClassDef):
            shape = ",".join(ast.dump(one) for one in (*node.bases, *node.keywords, *node.decorator_list))
            fields = [
                one.target.id
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            ]
            defaults = [isinstance(one.value, ast.expr) for one in node.body if isinstance(one, ast.AnnAssign)]
            end = _signature_end(node)
            yield Definition(prefix + node.name, "class", node.lineno, end, f"{shape}|{fields}|{defaults}")
            yield from _of(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for inner in (node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])):
                yield from _of(inner, prefix)
            for handler in getattr(node, "handlers", []):
                yield from _of(handler.body, prefix)
        else:
            for name in _names(node):
                yield Definition(prefix + name, "name", node.lineno, node.end_lineno or node.lineno, "")


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for one in ast.walk(target):
                if isinstance(one, ast.Name):
                    yield one.id


def _signature_end(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return max(node.lineno, node.body[0].lineno - 1) if node.body[0].lineno > node.lineno else node.lineno


def main(arguments: list[str]) -> None:
    """Print a JSON object: name → list of definitions, or null where it cannot be read."""
    folder = Path(arguments[0])
    found: dict[str, list[dict[str, object]] | None] = {}
    for name in json.loads((folder / "names.json").read_text()):
        try:
            source = (folder / name).read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
            found[name] = [asdict(one) for one in definitions(source)]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found[name] = None
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
