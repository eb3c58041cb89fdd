"""What a query asks for by its words, in as few of them as tell it from others."""

import re
from dataclasses import dataclass, replace

#: So many different words of a query are looked for: each costs a look at every chunk that is ranked.
MOST_WORDS = 32
#: The one configuration of Postgres' search that knows no common words of its own.
SIMPLE = "simple"
_COMMON = (
    "a about all also am an and any are as at be been but by can could did do does for from had has have he her him "
    "his how i if in into is it its just me more my no not of on or our she should so some such than that the their "
    "them then there these they this those to us was we were what when where which who why will with would you your"
)
#: English words that are in most texts: where they are left out, a query finds the same.
COMMON = frozenset(_COMMON.split())
#: Words of so many letters from a to z do not have to be in a chunk, unless they are all that is asked for.
SHORT = 2

_WORD = re.compile(r"\w+")
_PART = re.compile(r'(?P<minus>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')


@dataclass(frozen=True)
class Part:
    """A word, or a phrase in quotes. is_or: it stands after OR. is_out: it is excluded by a minus."""

    text: str
    is_phrase: bool = False
    is_out: bool = False
    is_or: bool = False

    def words(self) -> list[str]:
        return [word.lower() for word in _WORD.findall(self.text)]

    def __str__(self) -> str:
        text = f'"{self.text}"' if self.is_phrase else self.text
        return f"{'or ' if self.is_or else ''}{'-' if self.is_out else ''}{text}"


def parts_of(query: str) -> list[Part]:
    """Each part once, in the query's order: those with its first 32 words; of a part that is longer, its beginning."""
    found: dict[tuple[bool, bool, str], Part] = {}
    left, is_or = MOST_WORDS, False
    for match in _PART.finditer(query):
        is_phrase = match["word"] is None
        part = Part(match["phrase" if is_phrase else "word"].strip(), is_phrase, bool(match["minus"]), is_or)
        if not is_phrase and not part.is_out and part.text.lower() == "or":
            is_or = bool(found)
            continue
        key = (part.is_phrase, part.is_out, part.text.lower())
        number = len(part.words())
        if not number or key in found:
            continue
        if number > left:
            if left:
                found[key] = _beginning(part, left)
            break
        found[key] = part
        left -= number
        is_or = False
    return list(found.values())


def _beginning(part: Part, number: int) -> Part:
    words = _WORD.findall(part.text)[:number]
    # Of signs and words without a space between, Postgres makes a phrase.
    return replace(part, text=" ".join(words), is_phrase=True)


def without_common(parts: list[Part]) -> list[Part]:
    """The same without common English words, unless it has no others. Phrases and what is excluded stay."""
    kept = [part for part in parts if part.is_phrase or part.is_out or part.text.lower().strip("?!.,;:") not in COMMON]
    return kept if any(not part.is_out for part in kept) else parts


def for_postgres(query: str, language: str) -> str:
    """What `websearch_to_tsquery` is asked with."""
    parts = parts_of(query)
    return " ".join(map(str, without_common(parts) if language == SIMPLE else parts))


def words_of(query: str) -> list[str]:
    """The words that are looked for, each once: not the excluded ones, and common ones only if there are no others."""
    wanted = [word for part in parts_of(query) if not part.is_out for word in part.words()]
    telling = [word for word in wanted if word not in COMMON]
    return list(dict.fromkeys(telling or wanted))
