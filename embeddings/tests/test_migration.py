"""Changing the model of a collection, step by step, and back."""

import threading
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction

from embeddings.encoders import registry
from embeddings.encoders.registry import UnknownEncoder
from embeddings.models import (
    Activation,
    Collection,
    EmbeddingRun,
    Engine,
    IndexVersion,
    RunKind,
    RunState,
    Vector,
    VersionState,
)
from embeddings.services import (
    builds,
    candidates,
    cleaning,
    migration,
    pointer,
    runs,
    versions,
)
from embeddings.services.collections import UnknownCollection
from embeddings.services.migration_state import (
    CandidateNotReady,
    MigrationUnderWay,
    NoMigration,
    SameModel,
    cover,
    status,
)
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.tests.migrating import NEW, OLD, TEXTS, Words, again, embedded_by_old, person, prepare, words_known
from jobs import Discard
from jobs.models import AuditEntry, Job
from jobs.operators.actors import Actor, command_actor
from jobs.tests.in_process import killed_at

#: Builds read by connections of their own, and so only what is committed.
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def words(monkeypatch):
    with words_known(monkeypatch):
        yield


@pytest.fixture
def actor() -> Actor:
    return command_actor()


@pytest.fixture
def collection() -> Any:
    """Embedded by OLD, with its index in use."""
    return embedded_by_old()


# --- the whole way ---


@committed
def test_a_second_model_is_embedded_and_indexed_beside_the_first_without_touching_it(actor, collection):
    before = collection.active_version

    found = prepare(actor, collection)

    assert (found.encoder, found.candidate_encoder) == (OLD, NEW)
    assert found.active_version == before
    assert cover(found, found.candidate).missing == 0
    assert Vector.objects.filter(model=found.candidate).count() == len(TEXTS)
    assert EmbeddingRun.objects.get(encoder=NEW).kind == RunKind.MIGRATION
    version = versions.newest_ready(found, found.candidate)
    assert (version.count, version.model.dimension) == (len(TEXTS), 24)
    assert pointer.swap_to_newest(found.name)["swapped"] == []


@committed
def test_switch_changes_model_encoder_and_version_at_once_and_go_back_undoes_it(actor, collection):
    first = collection.active_version
    prepared = prepare(actor, collection)
    candidate = prepared.candidate

    switched = migration.switch(actor, collection.name)

    found = again(collection)
    assert (found.encoder, found.model, found.active_version) == (NEW, candidate, switched)
    assert (found.previous_encoder, found.previous) == (OLD, first.model)
    assert (found.candidate_encoder, found.candidate) == ("", None)
    assert Activation.objects.filter(version=switched, actor=actor.name).count() == 1

    assert migration.go_back(actor, collection.name) == first

    found = again(collection)
    assert (found.encoder, found.model, found.active_version) == (OLD, first.model, first)
    assert (found.candidate_encoder, found.candidate, found.previous) == (NEW, candidate, None)
    assert migration.switch(actor, collection.name) == switched
    done = AuditEntry.objects.filter(action__startswith="migration.").order_by("pk").values_list("action", flat=True)
    assert list(done) == ["migration.begin", "migration.switch", "migration.back", "migration.switch"]


@pytest.mark.long
@committed
def test_new_documents_are_embedded_by_both_models_so_that_neither_way_has_a_gap(actor, collection):
    prepare(actor, collection)
    add_chunks(collection, ["a new one before the switch"])
    runs.embed_all(collection.name)
    found = again(collection)
    assert (cover(found, found.model).missing, cover(found, found.candidate).missing) == (0, 0)

    migration.switch(actor, collection.name)
    add_chunks(collection, ["a new one after the switch"])
    runs.embed_all(collection.name)
    found = again(collection)
    assert (cover(found, found.model).missing, cover(found, found.previous).missing) == (0, 0)


@pytest.mark.long
@committed
def test_close_forgets_the_previous_model_and_the_clean_up_removes_what_was_of_it(actor, collection):
    old = collection.model
    prepare(actor, collection)
    migration.switch(actor, collection.name)

    assert migration.close(actor, collection.name) == OLD

    found = again(collection)
    assert (found.encoder, found.previous_encoder, found.previous) == (NEW, "", None)
    Activation.objects.all().delete()
    Vector.objects.update(created_at="2020-01-01T00:00Z")
    EmbeddingRun.objects.update(finished_at="2020-01-01T00:00Z")
    assert cleaning.clean_up()["index_versions"] == 1
    assert cleaning.clean_up()["vectors"] + Vector.objects.filter(model=old).count() in (0, len(TEXTS))
    assert not Vector.objects.filter(model=old).exists()
    assert Vector.objects.filter(model=found.model).count() == len(TEXTS)
    assert IndexVersion.objects.get(model=old).state == VersionState.REMOVED


@pytest.mark.long
@committed
def test_close_before_the_switch_gives_the_candidate_up_and_stops_its_run(actor, collection):
    migration.begin(actor, collection.name, NEW)
    run = EmbeddingRun.objects.create(collection=collection, encoder=NEW, kind=RunKind.MIGRATION)

    migration.close(actor, collection.name)

    run.refresh_from_db()
    assert (run.state, run.error) == (RunState.CANCELLED, "the migration was closed")
    assert again(collection).candidate_encoder == ""
    for step in (candidates.embed, candidates.build):
        with pytest.raises(Discard, match=rf"to {NEW} is not under way"):
            step(collection.name, NEW)


@pytest.mark.long
@committed
def test_a_collection_moves_from_faiss_to_pgvector_and_back_while_the_old_index_serves(collection: Any):
    first = collection.active_version
    Collection.objects.filter(pk=collection.pk).update(engine=Engine.PGVECTOR)

    builds.build(collection.name)
    assert again(collection).active_version == first
    pointer.swap_to_newest(collection.name)

    second = again(collection).active_version
    assert (first.engine, second.engine) == (Engine.FAISS, Engine.PGVECTOR)
    assert (second.count, second.state) == (len(TEXTS), VersionState.READY)
    assert builds.build(collection.name)["versions"][0]["state"] == "unchanged"
    pointer.activate(None, first, "back")
    assert again(collection).active_version == first
    pointer.activate(None, second, "and again")
    assert again(collection).active_version == second


@pytest.mark.long
@committed
def test_an_encoder_that_was_built_anew_is_moved_to_like_any_other(actor, collection, monkeypatch):
    old = collection.model
    monkeypatch.setattr(Words, "build", "with other weights")
    registry.forget(OLD)

    prepared = prepare(actor, collection, OLD)
    assert prepared.encoder == f"{OLD}@{old.digest[:16]}"
    assert prepared.candidate.digest != old.digest
    assert cover(prepared, prepared.candidate).missing == 0
    migration.switch(actor, collection.name)
    found = again(collection)
    assert (found.encoder, found.previous_encoder) == (OLD, f"{OLD}@{old.digest[:16]}")
    migration.go_back(actor, collection.name)
    assert again(collection).model == old
    migration.switch(actor, collection.name)
    migration.close(actor, collection.name)
    assert (again(collection).encoder, again(collection).previous_encoder) == (OLD, "")


@pytest.mark.long
@committed
def test_a_migration_to_the_very_model_that_is_in_use_closes_itself(actor, collection):
    migration.begin(actor, collection.name, OLD)

    with pytest.raises(Discard, match="is the very model that"):
        candidates.embed(collection.name, OLD)

    found = again(collection)
    assert (found.encoder, found.candidate_encoder, found.candidate) == (OLD, "", None)
    assert Vector.objects.count() == len(TEXTS)


# --- what is refused ---


@pytest.mark.django_db
def test_begin_refuses_unknown_encoders_unknown_collections_and_the_same_model(actor):
    collection = make_collection(encoder=OLD)
    with pytest.raises(UnknownEncoder, match="unknown encoder 'nonsense'"):
        migration.begin(actor, collection.name, "nonsense")
    with pytest.raises(UnknownCollection, match="unknown collection 'elsewhere'"):
        migration.begin(actor, "elsewhere", NEW)
    with pytest.raises(SameModel, match=f"to be embedded by {OLD} already"):
        migration.begin(actor, collection.name, OLD)
    assert not Job.objects.filter(task__startswith="embeddings.").exists()


@pytest.mark.django_db
def test_one_migration_at_a_time(actor):
    collection = make_collection(encoder=OLD)
    migration.begin(actor, collection.name, NEW)
    with pytest.raises(MigrationUnderWay, match=f"being migrated to {NEW}; switch to it, or close"):
        migration.begin(actor, collection.name, "words:8")

    Collection.objects.filter(pk=collection.pk).update(candidate_encoder="", previous_encoder="words:8")
    with pytest.raises(MigrationUnderWay, match="may still go back to words:8; close"):
        migration.begin(actor, collection.name, NEW)


@pytest.mark.django_db
def test_steps_without_a_migration_are_refused(actor):
    name = make_collection(encoder=OLD).name
    for step in (migration.switch, migration.go_back, migration.close, migration.ask, migration.embed_again):
        with pytest.raises(NoMigration, match=name):
            step(actor, name)


@committed
def test_switch_waits_for_the_vectors_and_for_an_index_that_passed_the_gate(actor, collection):
    migration.begin(actor, collection.name, NEW)
    with pytest.raises(CandidateNotReady, match=f"{NEW} has embedded nothing yet"):
        migration.switch(actor, collection.name)

    candidates.embed(collection.name, NEW)
    with pytest.raises(CandidateNotReady, match="no index of words:24 has passed the gate"):
        migration.switch(actor, collection.name)

    candidates.build(collection.name, NEW)
    add_chunks(collection, [f"one more {number}" for number in range(4)])
    with pytest.raises(CandidateNotReady, match=r"lacks 4 of 40 chunks \(90.0% are embedded, 99% are needed\)"):
        migration.switch(actor, collection.name)
    assert status(again(collection)).why_not.startswith("the candidate words:24 lacks 4 of 40")

    candidates.embed(collection.name, NEW)
    migration.switch(actor, collection.name)


@pytest.mark.long
@committed
def test_set_aside_documents_do_not_keep_a_switch_from_happening(actor, collection):
    from embeddings.models import SetAside

    prepared = prepare(actor, collection)
    poison = add_chunks(collection, [f"poison {number}" for number in range(5)])
    SetAside.objects.bulk_create(
        SetAside(
            model=prepared.candidate,
            content_sha=chunk.content_sha,
            chunk_id=chunk.pk,
            collection=collection,
            reason="no",
        )
        for chunk in poison
    )

    assert migration.switch(actor, collection.name).model == prepared.candidate


@pytest.mark.long
@committed
def test_going_back_needs_the_previous_models_index(actor, collection):
    prepare(actor, collection)
    migration.switch(actor, collection.name)
    IndexVersion.objects.filter(model=collection.model).update(state=VersionState.REMOVED)

    with pytest.raises(CandidateNotReady, match=f"no good index of {OLD} is left"):
        migration.go_back(actor, collection.name)
    assert again(collection).encoder == NEW


@pytest.mark.django_db
def test_every_step_needs_the_permission_to_activate_indexes(actor):
    collection = make_collection(encoder=OLD)
    nobody = Actor.of_user(person("build_index", "view_collection"), "api")
    steps = [
        lambda: migration.begin(nobody, collection.name, NEW),
        lambda: migration.embed_again(nobody, collection.name),
        lambda: migration.switch(nobody, collection.name),
        lambda: migration.go_back(nobody, collection.name),
        lambda: migration.close(nobody, collection.name),
        lambda: migration.ask(nobody, collection.name),
    ]
    for step in steps:
        with pytest.raises(PermissionDenied, match=r"embeddings\.activate_index"):
            step()


@pytest.mark.long
@committed
def test_a_switch_that_fails_halfway_changes_nothing(actor, collection, monkeypatch):
    prepare(actor, collection)
    before = Collection.objects.filter(pk=collection.pk).values().get()
    monkeypatch.setattr(pointer, "tell", lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        migration.switch(actor, collection.name)

    assert Collection.objects.filter(pk=collection.pk).values().get() == before
    assert not AuditEntry.objects.filter(action="migration.switch").exists()


@pytest.mark.long
@committed
def test_a_switch_beside_swaps_leaves_model_and_version_in_step(actor, collection):
    prepare(actor, collection)
    failed: list[Exception] = []
    stop = threading.Event()

    def swap() -> None:
        try:
            while not stop.is_set():
                pointer.swap_to_newest(collection.name)
                with transaction.atomic():
                    found = again(collection)
                    assert found.active_version.model_id == found.model_id
        except Exception as exc:
            failed.append(exc)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=swap) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            migration.switch(actor, collection.name)
            migration.go_back(actor, collection.name)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert not failed
    found = again(collection)
    assert (found.encoder, found.active_version.model) == (OLD, collection.model)


@pytest.mark.long
@committed
def test_killed_at_any_statement_a_step_has_happened_or_has_not(actor, collection):
    prepare(actor, collection)
    for step, encoder in ((migration.switch, NEW), (migration.go_back, OLD)):
        for number in range(1, 200):
            with killed_at(number) as was_killed:
                step(actor, collection.name)
            found = again(collection)
            assert found.active_version.model == found.model
            assert found.model.spec == found.encoder
            assert bool(found.candidate_encoder) is not bool(found.previous_encoder)
            if not was_killed():
                break
        assert found.encoder == encoder
    assert Activation.objects.filter(collection=collection).count() == 3
