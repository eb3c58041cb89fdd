"""What no encoder can embed, told before any work is done."""

from collections.abc import Sequence

from embeddings.encoders.base import TextRefused


def check(texts: Sequence[str]) -> None:
    """Raise TextRefused for the first that is empty, blank, no string, or holds half of a surrogate pair."""
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextRefused(index, f"a text must be a string, not {type(text).__name__}")
        if not text or text.isspace():
            raise TextRefused(index, "the text is empty; there is nothing to embed")
    check_unicode(texts)


def check_unicode(texts: Sequence[str]) -> None:
    """Raise TextRefused for the first that holds half of a surrogate pair."""
    for index, text in enumerate(texts):
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            code = f"U+{ord(text[exc.start]):04X}"
            reason = f"damaged Unicode: half of a surrogate pair ({code}) at character {exc.start}; mend or remove it"
            raise TextRefused(index, reason) from None
