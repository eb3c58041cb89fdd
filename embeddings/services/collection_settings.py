"""What a collection may be set to, and whether it fits."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection

from embeddings.models import Collection, Engine
from embeddings.services.items import shown

#: What a change of it makes of documents that are there: they are cut anew.
CUTTING = frozenset({"chunk_tokens", "chunk_overlap", "language"})
SETTINGS = (
    *("description", "encoder", "fast_encoder", "engine", "language", "chunk_tokens", "chunk_overlap"),
    *("recall_target", "recall_floor", "keep_versions", "groups"),
)
MAX_DESCRIPTION = 10_000
RANGES = {"chunk_tokens": (16, 4096), "chunk_overlap": (0, 2047), "keep_versions": (1, 1000)}


class CollectionRefused(ValueError):
    """A setting is not one that a collection can have. errors: setting → what is wrong with its value."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


def apply_settings(collection: Collection, changes: Mapping[str, Any]) -> list[str]:
    """Set them on the row, without saving it. Returns the names of what differs. Raises CollectionRefused.

    groups is looked at, and set by `set_groups` when the row is saved.
    """
    errors = {
        str(name)[:100]: f"unknown setting; choose from: {', '.join(SETTINGS)}"
        for name in changes
        if name not in SETTINGS
    }
    before = {name: getattr(collection, name) for name in SETTINGS if name != "groups"}
    for name, value in changes.items():
        if name in before:
            problem = _wrong_type(name, before[name], value)
            if problem:
                errors[name] = problem
            else:
                setattr(collection, name, value)
    changed = [name for name in before if getattr(collection, name) != before[name]]
    if not errors:
        errors = _errors(collection, changed, before)
    if errors:
        raise CollectionRefused(errors)
    return changed


def group_ids(value: Any) -> list[int]:
    """The numbers of groups that are named. Raises CollectionRefused for what is no list of known ones."""
    from embeddings.services.items import BadItem, GroupIds

    try:
        return GroupIds([{"groups": value}]).ids(value)
    except BadItem as exc:
        raise CollectionRefused({"groups": str(exc).removeprefix("groups: ")}) from None


def _wrong_type(name: str, now: Any, value: Any) -> str:
    if isinstance(now, str):
        if not isinstance(value, str):
            return f"is {shown(value)}; it takes a text"
        return "holds a NUL or half of a surrogate pair" if not _is_storable(value) else ""
    if isinstance(now, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        return "" if fits else f"is {shown(value)}; it takes a number from 0 to 1"
    least, most = RANGES[name]
    fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return "" if fits else f"is {shown(value)}; it takes a whole number from {least} to {most:,}"


def _is_storable(text: str) -> bool:
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text))


def _errors(collection: Collection, changed: list[str], before: Mapping[str, Any]) -> dict[str, str]:
    errors: dict[str, str] = {}
    try:
        collection.clean_fields(exclude=[one.name for one in Collection._meta.get_fields() if one.name not in SETTINGS])
    except ValidationError as exc:
        errors = {name: " ".join(texts) for name, texts in exc.message_dict.items()}
    if "engine" in errors:
        errors["engine"] = f"{shown(collection.engine)} is unknown; choose from: {', '.join(Engine.values)}"
    if len(collection.description) > MAX_DESCRIPTION:
        errors["description"] = f"has {len(collection.description):,} characters; it takes up to {MAX_DESCRIPTION:,}"
    if not errors and collection.chunk_overlap * 2 >= collection.chunk_tokens:
        errors["chunk_overlap"] = (
            f"is {collection.chunk_overlap}; it takes less than half of chunk_tokens, {collection.chunk_tokens}"
        )
    if {"recall_target", "recall_floor"} & set(changed) and collection.recall_floor > collection.recall_target:
        errors["recall_floor"] = (
            f"is {collection.recall_floor:g}; it takes at most recall_target, {collection.recall_target:g}, because "
            "the worst queries find no more than all do"
        )
    for name, look in (("language", _language), ("encoder", _encoder), ("fast_encoder", _encoder)):
        if name in changed or collection._state.adding:
            problem = look(getattr(collection, name))
            if problem:
                errors[name] = problem
    if "engine" in changed and collection.engine == Engine.PGVECTOR and not _has_pgvector():
        errors["engine"] = "pgvector is not installed in this Postgres; install it there, or keep faiss"
    if "encoder" in changed and "encoder" not in errors:
        problem = _why_not_encoder(collection, before["encoder"])
        if problem:
            errors["encoder"] = problem
    return errors


def _language(value: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cfgname FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY 1")
        known = [name for (name,) in cursor.fetchall()]
    return "" if value in known else f"{shown(value)} is unknown to Postgres; choose from: {', '.join(known)}"


def _encoder(spec: str) -> str:
    from embeddings.encoders.registry import UnknownEncoder, check_spec

    try:
        if spec:
            check_spec(spec)
    except UnknownEncoder as exc:
        return str(exc)
    return ""


def _why_not_encoder(collection: Collection, before: str) -> str:
    """Documents that are embedded move to another model step by step, while the old one serves."""
    from embeddings.encoders.registry import default_spec

    if collection.model is None or (collection.encoder or default_spec()) == collection.model.spec:
        return ""
    if not collection.documents.exists() and collection.candidate_id is None:
        collection.model = None
        return ""
    return (
        f"its documents are embedded by {before or default_spec()}; "
        "to change the model, begin a migration, which embeds them beside it and switches then"
    )


def _has_pgvector() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')")
        return bool(cursor.fetchone()[0])
