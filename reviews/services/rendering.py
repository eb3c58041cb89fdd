"""What is said at GitHub: Markdown in which nothing from outside can link, mention or format."""

import re

from reviews.models import PullRequestReview
from reviews.services.markers import marker as marker_of
from reviews.services.masking import Masker, of_environment

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_ZERO_WIDTH = "\u200b"


def marker(review: PullRequestReview) -> str:
    """A hidden line by which our own review is found again. Nobody else can make it before we have posted."""
    repository = review.repository  # by its id where it is known: it may be renamed before we look for the marker
    what = f"{repository.github_id or repository.full_name.lower()}#{review.number}@{review.head_sha}"
    if review.round > 1:
        what += f"/{review.round}"
    return marker_of("review", what, review.head_sha[:12])


def plain(text: str) -> str:
    """Text from outside as Markdown that shows just that text; paired backquotes stay code."""
    text = "".join(char if char.isprintable() else " " for char in text)
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(code(part) if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    text = _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # Neither a person, nor an issue, nor an address: GitHub makes links of these on its own.
    return re.sub(r"(@|#|:(?=//)|(?<=\bwww)(?=\.)|(?<=\bGH)(?=\\-))", rf"\1{_ZERO_WIDTH}", text, flags=re.IGNORECASE)


def code(text: str) -> str:
    """A code span that holds whatever it is given."""
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def mask(text: str) -> str:
    """Take our own secrets out, should a reviewed file hold one; see `masking` for all that may be in a review."""
    return Masker(of_environment()).mask(text)
