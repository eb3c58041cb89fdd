"""The snapshots that this process searches with, and how they are kept up.

Each collection that is searched is followed: by the listener where it runs, else by the searches themselves, which
then look at most once a second. A snapshot is replaced by one assignment, so a search that has taken one is done with
it whatever happens meanwhile.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable

import numpy as np
from django.db import DatabaseError, InterfaceError, OperationalError

from embeddings.models import Collection
from embeddings.serving import opening
from embeddings.serving.delta import contained
from embeddings.serving.opening import Aim, Pointer, Serving
from embeddings.serving.snapshot import Snapshot
from embeddings.vectors import Ids

logger = logging.getLogger(__name__)

#: A snapshot that was looked at so lately is new enough for a search.
FRESH_SECONDS = 1.0
#: With a listener, a search looks itself only when that has fallen behind.
BEHIND_SECONDS = 3.0
#: Collections that nobody searched for so long are let go.
IDLE_SECONDS = 900.0
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 60.0

_NO_IDS: Ids = np.empty(0, dtype=np.int64)


class Follower:
    """Keeps up the snapshot of one collection."""

    def __init__(self, collection_id: int) -> None:
        self.collection_id = collection_id
        self.snapshot: Snapshot | None = None
        self.looked_at = float("-inf")
        self.used_at = time.monotonic()
        self._main = Place(collection_id)
        self._fast = Place(collection_id)
        self._index_only: tuple[Serving | None, Serving | None, Ids] = (None, None, _NO_IDS)
        # Whoever follows changes has the one lock, whoever opens an index the other: new documents are found also
        # while a large index is fetched.
        self._following = threading.Lock()
        self._opening = threading.Lock()

    def is_older_than(self, seconds: float) -> bool:
        return time.monotonic() - self.looked_at > seconds

    def refresh(self, pointer: Pointer, *, wait: bool) -> None:
        """Take in what was committed, and put another index in use where the pointer has moved.

        wait: for another thread that does the same; else leave it to that one.
        """
        if self._opening.acquire(blocking=wait):
            try:
                main, fast = self._main.opened(pointer.main), self._fast.opened(pointer.fast)
                with self._following:
                    changed = main is not self._main.serving or fast is not self._fast.serving
                    self._main.serving, self._fast.serving = main, fast
                    self._follow(changed)
            finally:
                self._opening.release()
        elif self.snapshot is not None and self._following.acquire(blocking=False):
            try:
                self._follow(False)
            finally:
                self._following.release()

    def _follow(self, changed: bool) -> None:
        # The fast tier first: what it has and the main one has not is then certainly waiting.
        for place in (self._fast, self._main):
            if place.serving is not None:
                changed |= place.serving.delta.follow()
        warning = self._main.warning or self._fast.warning
        if self.snapshot is None or changed or self.snapshot.warning != warning:
            main, fast = self._main.serving, self._fast.serving
            self.snapshot = Snapshot(
                collection_id=self.collection_id,
                main=None if main is None else main.tier(),
                fast=None if fast is None else fast.tier(),
                waiting=self._waiting(main, fast),
                warning=warning,
            )
        self.looked_at = time.monotonic()

    def _waiting(self, main: Serving | None, fast: Serving | None) -> Ids:
        """Chunks that the fast tier alone has."""
        if fast is None:
            return _NO_IDS
        if self._index_only[0] is not main or self._index_only[1] is not fast:
            # Both indexes whole, once for each pair of them.
            indexed = _NO_IDS if fast.opened is None else np.asarray(fast.opened.ids)
            only = indexed if main is None or main.opened is None else indexed[~contained(indexed, main.opened.ids)]
            self._index_only = (main, fast, only)
        ids = np.union1d(fast.delta.beside().living(), self._index_only[2])
        if main is not None:
            ids = ids[~main.delta.holds(ids)]
        return ids[~contained(ids, fast.delta.tombstones)]


class Place:
    """Where a tier is served from: the index that is pointed at, or, while it cannot be opened, another one."""

    def __init__(self, collection_id: int) -> None:
        self.serving: Serving | None = None
        self.warning = ""
        self._collection_id = collection_id
        self._failed: tuple[int, int | None] | None = None
        self._retry_at = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS

    def opened(self, aim: Aim | None) -> Serving | None:
        """What serves an aim from now on. Raises OperationalError."""
        if aim is None or (self.serving is not None and self.serving.aim.key == aim.key):
            self.warning, self._failed, self._backoff = "", None, FIRST_BACKOFF_SECONDS
            return None if aim is None else self.serving
        if self._failed == aim.key and self.serving is not None and time.monotonic() < self._retry_at:
            return self.serving
        try:
            found = Serving(self._collection_id, aim)
        except (OperationalError, InterfaceError):
            raise
        except Exception as exc:
            self._note(aim, exc)
            return self.serving or self._instead(aim)
        self.warning, self._failed, self._backoff = "", None, FIRST_BACKOFF_SECONDS
        return found

    def _note(self, aim: Aim, exc: Exception) -> None:
        if self._failed != aim.key:
            self._backoff = FIRST_BACKOFF_SECONDS
            number = aim.version.number if aim.version is not None else 0
            self.warning = f"index version {number} cannot be opened: {str(exc) or type(exc).__name__}"[:500]
            logger.error("Collection %s: %s. It is tried again.", self._collection_id, self.warning)
        self._failed = aim.key
        self._retry_at = time.monotonic() + self._backoff
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)

    def _instead(self, aim: Aim) -> Serving | None:
        for other in opening.instead_of(self._collection_id, aim):
            try:
                return Serving(self._collection_id, other)
            except (OperationalError, InterfaceError):
                raise
            except Exception as exc:
                logger.warning("Collection %s: nor can another one: %s", self._collection_id, exc)
        return None


_followers: dict[int, Follower] = {}
_lock = threading.Lock()


def snapshot(collection_id: int) -> Snapshot:
    """What to search a collection with. The first call of a process opens its index.

    Raises Collection.DoesNotExist, OperationalError.
    """
    from embeddings.serving import listener

    follower = _follower(collection_id)
    follower.used_at = time.monotonic()
    current = follower.snapshot
    if current is not None and not follower.is_older_than(BEHIND_SECONDS if listener.is_running() else FRESH_SECONDS):
        return current
    pointer = opening.pointers([collection_id]).get(collection_id)
    if pointer is None:
        drop(collection_id)
        raise Collection.DoesNotExist(f"no collection {collection_id}")
    follower.refresh(pointer, wait=current is None)
    assert follower.snapshot is not None
    return follower.snapshot


def refresh(collection_ids: Iterable[int]) -> None:
    """Look at collections that are followed; the listener calls it. A collection that is not there is left alone."""
    followed = [_followers[one] for one in collection_ids if one in _followers]
    found = opening.pointers([one.collection_id for one in followed]) if followed else {}
    for follower in followed:
        pointer = found.get(follower.collection_id)
        if pointer is None:
            continue
        try:
            follower.refresh(pointer, wait=False)
        except (DatabaseError, InterfaceError):
            raise
        except Exception:
            # Searches of this one will meet the same; the others go on being followed.
            logger.exception("Collection %s cannot be followed", follower.collection_id)


def followed() -> list[int]:
    return list(_followers)


def drop_idle() -> None:
    """Let go of what nobody searches any more."""
    for follower in list(_followers.values()):
        if time.monotonic() - follower.used_at > IDLE_SECONDS:
            drop(follower.collection_id)


def drop(collection_id: int) -> None:
    with _lock:
        _followers.pop(collection_id, None)


def forget() -> None:
    """Start anew, as a process does that has been forked."""
    global _lock
    _lock = threading.Lock()
    _followers.clear()


def _follower(collection_id: int) -> Follower:
    with _lock:
        return _followers.setdefault(collection_id, Follower(collection_id))


os.register_at_fork(after_in_child=forget)
