"""Which files are read, and why others are not, in words for the coverage of a review."""

import re

from reviews.analysis.source import is_python
from reviews.changes import FileChange, FileKind
from reviews.paths import PathPatterns

MAX_FILE_BYTES = 1024 * 1024
MINIFIED_LINE_CHARS = 5000

SECRETS_ONLY = "searched for secrets only: no analyser reads this kind of file"
_VENDORED = re.compile(
    r"(^|/)(node_modules|bower_components|vendor|third_party|third-party|site-packages|\.venv|\.yarn|_vendor|vendored)/"
)
_LOCK = re.compile(
    r"(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|poetry\.lock|uv\.lock|pdm\.lock"
    r"|Pipfile\.lock|Cargo\.lock|Gemfile\.lock|composer\.lock|go\.sum|flake\.lock|mix\.lock|packages\.lock\.json)$"
)
_MINIFIED = re.compile(r"[.-]min\.(js|css|mjs)$|\.(bundle|chunk)\.js$|\.map$")
_GENERATED_NAME = re.compile(
    r"_pb2(_grpc)?\.pyi?$|\.pb\.(go|cc|h)$|\.g\.dart$|\.designer\.cs$|_generated\.\w+$|\.snap$"
)
_GENERATED = re.compile(
    r"@generated\b|\bDO NOT EDIT\b"
    r"|\b(?:auto-?generated|code generated|generated (?:automatically )?by|this file is generated)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^\s*(?:#|//|/\*|\*|--|;|<!--|\"\"\"|''')")
_BINARY_SUFFIX = re.compile(
    r"\.(png|jpe?g|gif|webp|ico|bmp|tiff?|pdf|zip|gz|tgz|xz|bz2|7z|rar|jar|war|whl|so|dll|exe|o|a|class|pyc|woff2?|ttf|otf|eot"
    r"|mp[34]|m4a|mov|avi|webm|ogg|wav|flac|sqlite3?|db|bin|dat|parquet|npy|npz|onnx|pt|pkl)$",
    re.IGNORECASE,
)


def why_not_loaded(file: FileChange, excluded: PathPatterns) -> str:
    """What the change alone tells; empty for a file whose content is looked at."""
    side = file.head or file.base
    if side is not None and side.kind is not FileKind.REGULAR:
        return f"a {side.kind}"
    if excluded.matches(file.path):
        return "excluded by the repository's settings"
    return why_path_not_read(file.path)


def why_path_not_read(path: str) -> str:
    if path.lower().endswith(".ipynb"):
        return "a notebook; only source files are read"
    if _VENDORED.search(path):
        return "vendored: code of others"
    if _LOCK.search(path):
        return "a lock file"
    if _MINIFIED.search(path):
        return "minified"
    if _GENERATED_NAME.search(path):
        return "generated, by its name"
    return "binary" if _BINARY_SUFFIX.search(path) else ""


def why_not_read(path: str, content: bytes) -> str:
    """What its content tells; empty for a file that is read."""
    if len(content) > MAX_FILE_BYTES:
        return f"it has {len(content):,} bytes; files of up to {MAX_FILE_BYTES:,} are read"
    # Nul bytes in Python are an error to be told.
    if not is_python(path) and b"\0" in content[:8000] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "binary"
    if re.search(rb"[^\n]{%d}" % MINIFIED_LINE_CHARS, content[:200_000]) and re.search(
        r"\.(?:[mc]?js|css|json)$", path
    ):
        return "minified, by the length of its lines"
    return "generated, by its own word" if is_generated(content) else ""


def is_generated(content: bytes) -> bool:
    """Whether a comment among the first lines says so."""
    lines = content[:2000].decode("utf-8", "replace").split("\n")[:8]
    return any(_COMMENT.match(line) and _GENERATED.search(line) for line in lines)
