"""What a label's classifier looks at: words and pairs of them, those of the title for themselves."""

from reviews.enrichment.cleaning import Cleaned
from reviews.enrichment.words import pairs, words


def features(cleaned: Cleaned) -> list[str]:
    of_title = pairs(words(cleaned.title))
    return [*of_title, *pairs(words(cleaned.body)), *(f"title:{word}" for word in of_title)]
