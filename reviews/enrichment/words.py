"""Words of a text, the same for similar issues and for what is learned of labels."""

import re
from collections import Counter
from itertools import pairwise

_WORD = re.compile(r"[^\W_][\w+#.-]*[^\W_+#.-]|[^\W_]+", re.UNICODE)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
MAX_LENGTH = 40
#: A word counts no more often than this.
MAX_REPEATS = 4
MAX_TERMS = 600

_STOPPED = (
    "a about above after again all also am an and any are as at be because been before being below between both "
    "but by can cannot could did do does doing don down during each few for from further get gets got had has "
    "have having he her here hers him his how i if in into is it its itself just like ll me more most my no nor "
    "not now of off on once only or other our out over own please re s same she should so some such t than thanks "
    "that the their them then there these they this those through to too try trying under until up us use used "
    "uses using ve very was we were what when where which while who whom why will with would you your "
)
STOP_WORDS = frozenset(_STOPPED.split())


def words(text: str) -> list[str]:
    """Lower case, plural endings off, stop words and numbers out; texts without spaces in pairs of characters."""
    found: list[str] = []
    for raw in _WORD.findall(text.lower()):
        if _CJK.search(raw):
            found += [raw[at : at + 2] for at in range(len(raw) - 1)]
            continue
        if len(raw) > MAX_LENGTH or raw.isdigit() or raw in STOP_WORDS:
            continue
        found.append(_stem(raw))
    return [word for word in found if len(word) > 1]


def _stem(word: str) -> str:
    """Without an English plural's ending: more would find more, and be hard to read where shared words are told."""
    if len(word) < 4 or not word.isascii() or word.endswith(("ss", "us", "is")):
        return word
    return f"{word[:-3]}y" if word.endswith("ies") and len(word) > 4 else word.removesuffix("s")


def terms(title: str, body: str) -> list[str]:
    """The words of an issue, those of its title twice, each at most `MAX_REPEATS` times."""
    counts = Counter(words(title) * 2 + words(body))
    found: list[str] = []
    for word, count in counts.items():
        found += [word] * min(count, MAX_REPEATS)
        if len(found) >= MAX_TERMS:
            break
    return found


def pairs(found: list[str]) -> list[str]:
    """Words, and each two that follow each other."""
    return [*found, *(f"{one} {two}" for one, two in pairwise(found))]
