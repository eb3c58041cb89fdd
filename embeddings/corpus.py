"""Documents and search for other parts of the system, which bring their own collection and know nothing of indexes.

    issues = Corpus.ensure("issues", description="Issues of our repositories", language="english")
    issues.put([{"id": "acme/app#12", "text": "Login fails …", "metadata": {"state": "open"}}])
    for hit in issues.similar("acme/app#12", k=5, filters={"state": "open"}):
        print(hit.id, hit.score, hit.snippet.text)

Nobody's permission is asked: whoever uses it decides who may see what it returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embeddings.services.answers import Hit
    from embeddings.services.documents import PutResult

DEFAULT_K = 10


class Corpus:
    """One collection, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def ensure(cls, name: str, **settings: Any) -> "Corpus":
        """The same, making the collection with these settings if there is none of that name yet.

        settings: fields of `Collection`, such as description, language and chunk_tokens; one that is there keeps its
        own. Raises CollectionRefused for one that cannot be.
        """
        from embeddings.services import collections

        return cls(collections.ensure(name, **settings).name)

    def put(self, items: Iterable[Mapping[str, Any]]) -> "PutResult":
        """Create or update documents: {id, text, metadata?, groups?}, up to 1,000.

        They are embedded by a job that is sent with the caller's transaction; an unchanged text costs next to
        nothing. Items that are none are told in the result's `errors`. Raises UnknownCollection, TooManyItems;
        TypeError for what is no list of items.
        """
        from embeddings.services import documents

        if isinstance(items, str | bytes | Mapping):
            raise TypeError(f"put takes a list of documents, not a {type(items).__name__}; put [] around a single one")
        return documents.put(None, self._collection(), list(items))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents by their ids; unknown ones are passed over. Returns how many there were.

        Raises UnknownCollection, TooManyItems, BadItem; TypeError for what is no list of ids.
        """
        from embeddings.services import documents

        if isinstance(ids, str | bytes):
            raise TypeError(f"delete takes a list of ids, not a {type(ids).__name__}; put [] around a single one")
        return documents.delete(None, self._collection(), ids)

    def search(self, text: str, k: int = DEFAULT_K, filters: Any = None, mode: str = "hybrid") -> "list[Hit]":
        """The k best documents for a text of up to 2,000 characters; see `searching.search`.

        Raises UnknownCollection, SearchRefused, SearchUnavailable.
        """
        from embeddings.services.searching import search

        return search(None, text, k, self.name, filters, mode).hits

    def similar(
        self,
        id: str | None = None,  # noqa: A002  # as everywhere else in the API
        *,
        text: str | None = None,
        k: int = DEFAULT_K,
        filters: Any = None,
    ) -> "list[Hit]":
        """The k documents nearest to one of them, without itself, or to a text of any length.

        Raises UnknownCollection, UnknownDocument, SearchRefused, SearchUnavailable; ValueError unless one of both is
        given.
        """
        from embeddings.services import similar

        if (id is None) == (text is None):
            raise ValueError("similar takes the id of a document or a text, one of both")
        if id is not None:
            return similar.similar(self.name, id, k, filters).hits
        return similar.similar_to_text(self.name, text or "", k, filters).hits

    def _collection(self) -> Any:
        from embeddings.services import collections

        return collections.find(self.name)


__all__ = ["Corpus"]
