"""Which version is in use: moved in one step, refused where it must be, and never moved behind an operator's back."""

import json
from pathlib import Path

import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction

from embeddings.errors import IndexDamaged, VersionNotActivated
from embeddings.models import Activation, Collection, IndexVersion, VersionState
from embeddings.services import pointer, store
from embeddings.services.sessions import session
from embeddings.tests.factories import make_collection, make_model, make_version
from jobs.models import AuditEntry
from jobs.operators.actors import Actor, command_actor
from jobs.tests.api_client import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def collection(indexes_dir: Path) -> Collection:
    return make_collection(model=make_model(), fast_model=make_model(spec="fast"))


def in_use(collection: Collection) -> tuple[int | None, ...]:
    collection.refresh_from_db()
    return tuple(
        None if version is None else version.number for version in (collection.active_version, collection.fast_version)
    )


def test_an_activation_moves_the_pointer_and_is_written_down(collection: Collection) -> None:
    version = make_version(collection)

    pointer.activate(command_actor(), version, "first")

    assert in_use(collection) == (1, None)
    activation = Activation.objects.get(version=version)
    assert (activation.reason, activation.actor) == ("first", command_actor().name)
    entry = AuditEntry.objects.get(action="index.activate")
    assert entry.target == collection.name
    assert entry.detail["version"] == 1


def test_what_is_in_use_already_is_not_activated_again(collection: Collection) -> None:
    version = make_version(collection)
    pointer.activate(None, version)

    assert pointer.activate(None, version) is None

    assert Activation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_readers_are_told_once_it_is_committed(collection: Collection) -> None:
    version = make_version(collection)
    with session() as listening:
        listening.execute("LISTEN embeddings")
        with transaction.atomic():
            pointer.activate(None, version)
            assert list(listening.notifies(timeout=0.2)) == []
        told = next(listening.notifies(timeout=60, stop_after=1))

    assert json.loads(told.payload) == {"collection": collection.pk}


@pytest.mark.parametrize("state", [state for state in VersionState if state != VersionState.READY])
def test_only_a_ready_version_is_activated(collection: Collection, state: VersionState) -> None:
    version = make_version(collection, state=state)

    with pytest.raises(VersionNotActivated, match=rf"version 1 \(id {version.pk}\) is {state}"):
        pointer.activate(None, version)

    assert in_use(collection) == (None, None)


def test_a_version_that_was_given_up_meanwhile_is_not_activated(collection: Collection) -> None:
    """The caller's row may be old: it is the locked one that counts."""
    version = make_version(collection)
    IndexVersion.objects.filter(pk=version.pk).update(state=VersionState.REMOVED)

    with pytest.raises(VersionNotActivated, match="is removed"):
        pointer.activate(None, version)


def test_a_version_of_a_model_that_the_collection_is_not_searched_with_is_refused(collection: Collection) -> None:
    version = make_version(collection, model=make_model(spec="other"))

    with pytest.raises(VersionNotActivated, match="of model other"):
        pointer.activate(None, version)


def test_a_damaged_version_is_refused_and_the_old_one_stays(collection: Collection) -> None:
    first, second = make_version(collection), make_version(collection)
    pointer.activate(None, first)
    with (store.local_folder(second) / "index.faiss").open("r+b") as file:
        file.truncate(100)

    with pytest.raises(IndexDamaged, match=r"index\.faiss"):
        pointer.activate(None, second)

    assert in_use(collection) == (1, None)


def test_who_lacks_the_permission_changes_nothing(collection: Collection) -> None:
    version = make_version(collection)

    with pytest.raises(PermissionDenied, match=r"embeddings\.activate_index"):
        pointer.activate(Actor.of_user(person("ann"), "api"), version)

    assert in_use(collection) == (None, None)


def test_the_swap_takes_the_newest_of_each_tier(collection: Collection) -> None:
    for model in (collection.model, collection.fast_model, collection.model, collection.fast_model):
        make_version(collection, model=model)
    make_version(collection, state=VersionState.REFUSED)

    assert pointer.swap_to_newest(collection.name)["swapped"] == [3, 4]
    assert in_use(collection) == (3, 4)
    assert pointer.swap_to_newest(collection.name)["swapped"] == []


def test_a_rollback_stays_until_something_newer_is_built(collection: Collection) -> None:
    old = make_version(collection)
    pointer.swap_to_newest(collection.name)
    make_version(collection)
    pointer.swap_to_newest(collection.name)
    assert in_use(collection) == (2, None)

    pointer.activate(command_actor(), old, "the new one is worse")
    assert pointer.swap_to_newest(collection.name) == {"collection": collection.name, "swapped": [], "kept": [1]}
    assert in_use(collection) == (1, None)

    make_version(collection)
    assert pointer.swap_to_newest(collection.name)["swapped"] == [3]


def test_a_swap_where_nothing_is_built_says_so(collection: Collection) -> None:
    assert pointer.swap_to_newest(collection.name) == {"collection": collection.name, "swapped": [], "kept": []}


def test_a_pointed_at_version_cannot_be_deleted(collection: Collection) -> None:
    version = make_version(collection)
    pointer.activate(None, version)

    with pytest.raises(Exception, match="protected foreign keys"):
        version.delete()


@pytest.mark.django_db(transaction=True)
def test_two_activations_at_once_take_turns(collection: Collection) -> None:
    version = make_version(collection)
    with session() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM embeddings_collection WHERE id = %s FOR NO KEY UPDATE", [collection.pk])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        with pytest.raises(Exception, match="lock timeout") as caught:
            pointer.activate(None, version)
        assert isinstance(caught.value.__cause__, psycopg.errors.LockNotAvailable)
    connection.close()

    assert in_use(collection) == (None, None)
