"""Says why a server could not be reached, as an operator would look for it."""

from collections.abc import Iterator


def why_unreachable(exc: BaseException) -> str:
    """The operating system's words, such as "Connection refused"; where it said none, the innermost error's name.

    exc: of an HTTP client, which hides them below errors of its own. Their texts hold addresses and, at times, what
    was sent; so none of them is repeated.
    """
    innermost = exc
    for inner in _with_causes(exc):
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        innermost = inner
    return type(innermost).__name__


def _with_causes(exc: BaseException) -> Iterator[BaseException]:
    """An error, and those below it: as its cause, or, as urllib3 and requests do, among its arguments."""
    seen: set[int] = set()
    found = [exc]
    while found:
        inner = found.pop(0)
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        yield inner
        below = [inner.__cause__, inner.__context__, getattr(inner, "reason", None), *inner.args]
        found += [one for one in below if isinstance(one, BaseException)]
