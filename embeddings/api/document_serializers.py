"""Documents as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from embeddings.models import Document
from embeddings.services import document_lists
from embeddings.services.items import MAX_ID, MAX_ITEMS, shown
from embeddings.tasks import FIRST
from jobs.api.serializers import JsonObject, StrictSerializer


class QuerySerializer(serializers.Serializer[Any]):
    """Which collection is meant."""

    collection = serializers.CharField(
        max_length=63, default=FIRST, help_text=f"The collection's name; {FIRST} if left out."
    )


class ListQuerySerializer(QuerySerializer):
    search = serializers.CharField(
        max_length=MAX_ID, required=False, trim_whitespace=False, help_text="The beginning of an id; sorts by id."
    )
    state = serializers.ChoiceField(
        choices=document_lists.STATES,
        required=False,
        help_text="embedded: all of it has vectors. pending: some is still to come. set_aside: some could not be "
        "embedded. embedded and pending look at the newest 100,000 documents.",
        error_messages={
            "invalid_choice": f'unknown state "{{input}}"; choose from: {", ".join(document_lists.STATES)}'
        },
    )


class ItemSerializer(serializers.Serializer[Any]):
    """A document to be stored. Describes the body; what it may hold is checked by the service, item by item."""

    id = serializers.CharField(max_length=MAX_ID, help_text="Your own.")
    text = serializers.CharField(max_length=1_000_000)
    metadata = JsonObject(required=False, help_text="What searches can filter by; stays as it is if left out.")
    groups = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Names of the groups that may find it, none for all readers; stays as it is if left out.",
    )


class ItemErrorSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="The item's place in the body, from 0.")
    id = serializers.CharField()
    error = serializers.CharField()


class PutResultSerializer(serializers.Serializer[Any]):
    created = serializers.IntegerField()
    updated = serializers.IntegerField(help_text="Of those, an unchanged text keeps its vectors.")
    unchanged = serializers.IntegerField()
    errors = ItemErrorSerializer(  # type: ignore[assignment]  # a field, not the property
        many=True, help_text="What was not stored, and why."
    )


class IdText(serializers.CharField):
    """A text, and no number that would be read as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError(f"it is {shown(data)}; an id is a text of 1 to {MAX_ID} characters")
        return super().to_internal_value(data)


class IdsSerializer(StrictSerializer):
    ids = serializers.ListField(
        child=IdText(max_length=MAX_ID, trim_whitespace=False), allow_empty=False, max_length=MAX_ITEMS
    )


class DeletedSerializer(serializers.Serializer[Any]):
    deleted = serializers.IntegerField(help_text="Unknown ids are passed over.")


class DocumentSerializer(serializers.ModelSerializer[Document]):
    """A document without its text."""

    id = serializers.CharField(source="external_id")
    collection = serializers.CharField(source="collection.name")
    metadata = JsonObject()
    groups = serializers.SerializerMethodField(help_text="Who may find it; none: all of the collection's readers.")
    state = serializers.SerializerMethodField()
    chunks = serializers.SerializerMethodField(help_text="How many it is cut into.")
    tokens = serializers.SerializerMethodField(help_text="Of all its chunks, which overlap.")

    class Meta:
        model = Document
        fields = [*("id", "collection", "metadata", "groups", "state", "chunks", "tokens"), "created_at", "updated_at"]
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_groups(self, document: Document) -> list[str]:
        names = self.context["groups"]
        return [names.get(pk, str(pk)) for pk in document.group_ids]

    @extend_schema_field(serializers.ChoiceField(choices=document_lists.STATES))
    def get_state(self, document: Document) -> str:
        return str(self._of(document).state)

    def get_chunks(self, document: Document) -> int:
        return int(self._of(document).chunks)

    def get_tokens(self, document: Document) -> int:
        return int(self._of(document).tokens)

    def _of(self, document: Document) -> document_lists.DocumentState:
        found: document_lists.DocumentState = self.context["states"][document.pk]
        return found


class ChunkSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="chunk.id", help_text="Its id in every index.")
    start = serializers.IntegerField(source="chunk.start", help_text="In characters of the text.")
    end = serializers.IntegerField(source="chunk.end")
    tokens = serializers.IntegerField(source="chunk.n_tokens")
    state = serializers.ChoiceField(choices=document_lists.STATES)
    reason = serializers.CharField(help_text="Why it was set aside.")


class DocumentDetailSerializer(DocumentSerializer):
    pieces = serializers.SerializerMethodField(help_text=f"Its first {document_lists.MOST_CHUNKS} chunks.")

    class Meta(DocumentSerializer.Meta):
        fields = [*DocumentSerializer.Meta.fields, "text", "pieces"]
        read_only_fields = fields

    @extend_schema_field(ChunkSerializer(many=True))
    def get_pieces(self, document: Document) -> list[dict[str, Any]]:
        return list(ChunkSerializer(self.context["pieces"], many=True).data)


def shown_documents(collection: Any, documents: list[Document]) -> list[dict[str, Any]]:
    """A page of a collection's documents, in three statements."""
    context = _context(collection, documents)
    for one in documents:
        one.collection = collection
    return list(DocumentSerializer(documents, many=True, context=context).data)


def shown_document(collection: Any, document: Document) -> dict[str, Any]:
    """With its text and its chunks."""
    document.collection = collection
    context = {**_context(collection, [document]), "pieces": document_lists.chunks_of(document, collection)}
    return dict(DocumentDetailSerializer(document, context=context).data)


def _context(collection: Any, documents: list[Document]) -> dict[str, Any]:
    return {
        "states": document_lists.states_of(collection, [one.pk for one in documents]),
        "groups": document_lists.group_names(pk for one in documents for pk in one.group_ids),
    }
