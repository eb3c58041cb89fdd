"""Chunks that may answer a query by its words: Postgres' full text search."""

from django.db import OperationalError
from psycopg import errors

from embeddings.services.query_text import SIMPLE, for_postgres
from embeddings.services.retrieval import Found
from embeddings.services.scope import Scope, within

#: So many chunks with a query's words are ranked at most: to rank is to read them.
MOST_RANKED = 2_000
#: Words that are in most chunks take long to rank; a search waits for so long.
SECONDS = 1.0
TOO_COSTLY = (
    f"the words of the query are in too much to be looked up within {SECONDS:g} s; give fewer or rarer words, or try "
    "again later"
)

_WORDS = "websearch_to_tsquery(%(language)s::regconfig, %(text)s)"
_ALL_WORDS = f"SELECT q, ARRAY[]::tsquery[] AS words FROM {_WORDS} AS q"  # noqa: S608  # of our own constants
#: "This or not that" would match nearly everything. In `simple`, short words do not have to match: see `query_text`.
_ANY_WORD = f"""
    SELECT CASE WHEN q::text ~ '!' THEN q ELSE replace(q::text, ' & ', ' | ')::tsquery END AS q,
           ARRAY(SELECT quote_literal(word)::tsquery
                 FROM unnest(tsvector_to_array(to_tsvector(%(language)s::regconfig, %(text)s))) AS word
                 WHERE NOT %(simple)s OR word !~ '^[a-z]{{1,2}}$') AS words
    FROM {_WORDS} AS q
"""  # noqa: S608


class WordsTooCostly(Exception):
    """Postgres gave up. found: what there was until then."""

    def __init__(self, found: Found) -> None:
        super().__init__(TOO_COSTLY)
        self.found = found


def with_words(scope: Scope, language: str, text: str, n: int, *, any_word: bool = False) -> Found:
    """Chunks with all words of a query, those first in which they are near to each other (Postgres' ts_rank_cd).

    any_word: then also those with at least half of the words, unless the query excludes one. Raises WordsTooCostly.
    """
    asked = for_postgres(text, language)
    if not asked:
        return []
    found: Found = []
    try:
        found = _matching(scope, language, asked, n, _ALL_WORDS, "ts_rank_cd")
        if any_word and len(found) < n:
            known = {chunk_id for chunk_id, _ in found}
            some = _matching(scope, language, asked, n, _ANY_WORD, "ts_rank")
            found += [one for one in some if one[0] not in known]
    except OperationalError as exc:
        if not isinstance(exc.__cause__, errors.QueryCanceled):
            raise
        raise WordsTooCostly(found) from None
    return found[:n]


def _matching(scope: Scope, language: str, text: str, n: int, query: str, rank: str) -> Found:
    sql, parameters = scope.named_sql()
    with within(SECONDS) as cursor:
        cursor.execute(
            f"""
            WITH query AS MATERIALIZED ({query}),
            matching AS MATERIALIZED (
                SELECT c.id, c.words
                FROM embeddings_chunk AS c JOIN embeddings_document AS d ON d.id = c.document_id
                WHERE c.words @@ (SELECT q FROM query) AND {sql}
                LIMIT {MOST_RANKED}
            ),
            counted AS (
                SELECT m.*, (SELECT count(*) FROM unnest(query.words) AS word WHERE m.words @@ word) AS matched
                FROM matching AS m, query
            )
            SELECT m.id, {rank}(m.words, query.q)::float8 AS score FROM counted AS m, query
            WHERE 2 * m.matched >= cardinality(query.words)
            ORDER BY m.matched DESC, score DESC, m.id
            LIMIT %(most)s
            """,  # noqa: S608  # of our own constants; what is asked for are parameters
            {"language": language, "text": text, "most": n, "simple": language == SIMPLE, **parameters},
        )
        return [(row[0], row[1]) for row in cursor.fetchall()]
