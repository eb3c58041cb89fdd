"""What a document may be: checks of what comes from outside, one item at a time."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_ITEMS = 1000
MAX_TEXT = 1_000_000
MAX_ID = 255
MAX_METADATA_BYTES = 65_536
MAX_DEPTH = 20
LARGEST_NUMBER = 10**300
MAX_GROUPS = 100
FIELDS = ("id", "text", "metadata", "groups")
#: Of a value that is named in an error.
SHOWN = 60

_TO_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class BadItem(ValueError):
    """An item is no document; the message names the field, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Item:
    """A document to be stored. metadata: as JSON. metadata, groups: None leaves what there is."""

    index: int
    id: str
    text: str
    sha: bytes
    metadata: str | None
    groups: list[int] | None


@dataclass(frozen=True)
class ItemError:
    """Why an item was not stored. index: its place in the call, from 0. id: empty if it has none that can be told."""

    index: int
    id: str
    error: str


def check_items(items: Sequence[Any]) -> tuple[list[Item], list[ItemError]]:
    """Tell documents from what is none. An id that comes twice is refused after the first time."""
    groups = GroupIds(items)
    good: dict[str, Item] = {}
    errors = []
    for index, item in enumerate(items):
        try:
            checked = _item(index, item, groups)
            if checked.id in good:
                raise BadItem(f"id {shown(checked.id)} is that of item {good[checked.id].index}; give each id once")
            good[checked.id] = checked
        except BadItem as exc:
            errors.append(ItemError(index, _id_of(item), str(exc)))
    return list(good.values()), errors


def _item(index: int, item: Any, groups: "GroupIds") -> Item:
    if not isinstance(item, Mapping):
        raise BadItem(f"it is {shown(item)}; an item is an object with id and text")
    for field in item:
        if field not in FIELDS:
            raise BadItem(f"unknown field {shown(field)}; choose from: {', '.join(FIELDS)}")
    for field in ("id", "text"):
        if field not in item:
            raise BadItem(f"it has no {field}; an item is an object with id and text")
    external_id = _check_new_id(item.get("id"))
    text = item.get("text")
    sha = hashlib.sha256(_text(text)).digest()
    metadata, names = item.get("metadata"), item.get("groups")
    return Item(
        index,
        external_id,
        text,  # type: ignore[arg-type]  # _text has looked
        sha,
        None if metadata is None else check_metadata(metadata),
        None if names is None else groups.ids(names),
    )


def check_id(value: Any) -> str:
    """Raises BadItem unless it is a text of 1 to 255 characters that Postgres can keep."""
    if not isinstance(value, str):
        raise BadItem(f"id is {shown(value)}; it takes a text of 1 to {MAX_ID} characters")
    if not value.strip():
        raise BadItem("id is empty; give each document one of your own")
    if len(value) > MAX_ID:
        raise BadItem(f"id {shown(value)} has {len(value):,} characters; it takes up to {MAX_ID}")
    _storable(value, "id")
    return value


def _check_new_id(value: Any) -> str:
    """The same, and without characters that no address of it could hold. Documents that have one can be deleted."""
    external_id = check_id(value)
    control = _CONTROL.search(external_id)
    if control:
        raise BadItem(
            f"id {shown(external_id)} has a control character (U+{ord(control.group()):04X}) at character "
            f"{control.start()}; leave it out"
        )
    return external_id


def _text(value: Any) -> bytes:
    """The text in UTF-8."""
    if not isinstance(value, str):
        raise BadItem(f"text is {shown(value)}; it takes a text")
    if len(value) > MAX_TEXT:
        raise BadItem(f"text has {len(value):,} characters; it takes up to {MAX_TEXT:,}: split the document")
    if not value or value.isspace():
        raise BadItem("text is empty; to remove a document, delete it")
    return _storable(value, "text")


def _storable(value: str, name: str) -> bytes:
    """Its bytes in UTF-8. Raises BadItem for what Postgres cannot keep."""
    try:
        encoded = value.encode()
    except UnicodeEncodeError as exc:
        code = ord(value[exc.start])
        raise BadItem(
            f"{name} has half of a surrogate pair (U+{code:04X}) at character {exc.start:,}; send whole characters"
        ) from None
    if b"\x00" in encoded:
        raise BadItem(f"{name} has a NUL at character {value.index(chr(0)):,}, which cannot be kept; remove it")
    return encoded


def check_metadata(value: Any) -> str:
    """As JSON. Raises BadItem for what is no object, too large, or nothing that Postgres can keep."""
    if not isinstance(value, Mapping):
        raise BadItem(f"metadata is {shown(value)}; it takes an object, such as {{}}")
    _check_members(value, 1)
    text = _TO_JSON(value if isinstance(value, dict) else dict(value))
    if len(text) > MAX_METADATA_BYTES // 4 and len(text.encode()) > MAX_METADATA_BYTES:
        raise BadItem(f"metadata takes {len(text.encode()):,} bytes as JSON; it takes up to {MAX_METADATA_BYTES:,}")
    return text


def _check_members(value: Mapping[Any, Any] | Sequence[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadItem(f"metadata is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(value, Mapping):
        for member in value:
            _check_value(member, depth)
        return
    for key, member in value.items():
        if not isinstance(key, str):
            raise BadItem(f"metadata has the key {shown(key)}, which is no text")
        if not key.isascii() or "\x00" in key:
            _storable(key, "a key of metadata")
        try:
            _check_value(member, depth)
        except _BadValue as exc:
            raise BadItem(f"metadata {shown(key)} {exc}") from None


class _BadValue(ValueError):
    """What is wrong with it, without the name of its key."""


def _check_value(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii() or "\x00" in value:
            _storable(value, "metadata")
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) >= LARGEST_NUMBER:
            raise _BadValue("has more than 300 digits; send it as a text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _BadValue(f"is {value!r}, which JSON cannot say; send null or a text")
    elif isinstance(value, Mapping | list | tuple):
        _check_members(value, depth + 1)
    else:
        raise _BadValue(f"is a {type(value).__name__}, which JSON cannot say")


class GroupIds:
    """Groups by name or number, all that a call names found in one statement."""

    def __init__(self, items: Iterable[Any]) -> None:
        named: set[Any] = set()
        for item in items:
            groups = item.get("groups") if isinstance(item, Mapping) else None
            if isinstance(groups, list | tuple):
                named.update(one for one in groups[:MAX_GROUPS] if isinstance(one, str | int))
        self._ids = _find_groups(named) if named else {}

    def ids(self, value: Any) -> list[int]:
        """Their numbers, ascending. Raises BadItem, naming the group, for what is none."""
        if not isinstance(value, list | tuple) or len(value) > MAX_GROUPS:
            raise BadItem(f"groups is {shown(value)}; it takes a list of up to {MAX_GROUPS} names of groups")
        found = set()
        for one in value:
            known = self._ids.get(one) if isinstance(one, str | int) and not isinstance(one, bool) else None
            if known is None:
                raise BadItem(f"groups: there is no group {shown(one)}; give names of groups that exist")
            found.add(known)
        return sorted(found)


def _find_groups(named: set[Any]) -> dict[Any, int]:
    from django.contrib.auth.models import Group

    names = [one for one in named if isinstance(one, str) and "\x00" not in one and not _SURROGATE.search(one)]
    numbers = [one for one in named if isinstance(one, int) and 0 < one < 2**31]
    by_name = {name: pk for pk, name in Group.objects.filter(name__in=names).values_list("pk", "name")}
    return {**by_name, **{pk: pk for pk in Group.objects.filter(pk__in=numbers).values_list("pk", flat=True)}}


def _id_of(item: Any) -> str:
    """What an error is told with: in characters that can be kept."""
    external_id = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(external_id, str):
        return ""
    return external_id[:MAX_ID].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def shown(value: Any) -> str:
    """A value on one line, cut, in characters that any terminal takes."""
    if isinstance(value, str):
        return f"{value[:SHOWN]!r}{' …' if len(value) > SHOWN else ''}"
    if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
        return "a very large number"
    return f"{value!r:.{SHOWN}}" if isinstance(value, int | float | None) else f"a {type(value).__name__}"
