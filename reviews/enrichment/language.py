"""In which language a text is, by its script and its commonest words."""

import re

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("uk", re.compile(r"[іїєґІЇЄҐ]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_WORDS = {
    "en": "the and is to of in it that when not with for this on be are i have but can an as from if was there does",
    "de": "der die das und ist nicht ich es ein eine mit auf für wenn den dem zu im auch wird beim kann sich oder nach",
    "fr": "le la les et est une des que pas pour dans je il sur avec du qui lors cette mais sont quand au plus",
    "es": "el los las y es una que no para en con por se al del cuando pero como está este lo más hay son",
    "it": "il gli e è una che non per di con sono quando del della si nel ma come questo anche alla dei lo più",
    "pt": "os as e é uma que não para em com por quando ao do da mas como está este isso são no na foi mais",
    "nl": "de het een en is niet ik van met voor als dat op te bij wordt maar kan zijn ook er naar dit wanneer",
    "pl": "i w nie na się to jest że z do jak po gdy dla przy ale czy są może tego kiedy od przez",
    "sv": "och är inte att det som en ett på för med av när den jag kan om till men från har vid",
    "cs": "a je se v na že není to s z do když pro ale jak po při jsem nebo by může už tak ve",
    "tr": "ve bir bu için ile değil da de ne çok olarak ama var gibi zaman olan daha sonra veya yok ben",
}
_KNOWN = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
#: Fewer common words than this, or a smaller share of all, and no language is told.
LEAST_WORDS = 2
LEAST_SHARE = 0.08
READ = 4_000


def detect(text: str) -> str:
    """ISO 639-1, such as en; empty where it is not clear."""
    text = text[:READ]
    letters = len(re.findall(r"[^\W\d_]", text))
    for language, script in _SCRIPTS:
        found = len(script.findall(text))
        # A word of Japanese or Chinese takes fewer letters than one of ours; the others are counted as they are.
        if found and found >= (0.15 if language in ("ja", "ko", "zh", "uk") else 0.3) * letters:
            return language
    words = _WORD.findall(text.lower())
    scores = {language: sum(word in known for word in words) for language, known in _KNOWN.items()}
    best, second = sorted(scores, key=lambda language: -scores[language])[:2]
    if scores[best] < max(LEAST_WORDS, LEAST_SHARE * len(words)) or scores[best] == scores[second]:
        return ""
    return best
