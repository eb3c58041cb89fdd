"""A collection whose encoder has become another one under the same name moves along by itself."""

from typing import Any

import pytest
from django.db.models.functions import Now

from embeddings.encoders import ngram, registry
from embeddings.encoders.base import EncoderUnavailable
from embeddings.models import Collection, Vector
from embeddings.services import builds, migration, pointer, rebuilding, renewal, runs
from embeddings.services.asking import SearchUnavailable
from embeddings.services.searching import search
from embeddings.serving import reader
from embeddings.tests.factories import add_chunks, make_collection
from jobs.models import AuditEntry, Job
from jobs.operators.actors import command_actor
from jobs.tests.in_process import run_all

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = [f"a text about {subject} number {number}" for number in range(5) for subject in ("trees", "rain")]


@pytest.fixture
def collection(indexes_dir: Any) -> Any:
    """Embedded by ngram, with its index in use."""
    made = make_collection(encoder="ngram", fast_encoder="")
    add_chunks(made, TEXTS)
    runs.embed_all(made.name)
    builds.build(made.name)
    pointer.swap_to_newest(made.name)
    return again(made)


@pytest.fixture
def updated(collection: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program makes ngram's vectors in another way from now on."""
    monkeypatch.setitem(ngram.RECIPE, "recipe", 1000)
    registry.forget("ngram")
    yield collection
    registry.forget("ngram")


def again(collection: Collection) -> Any:
    return Collection.objects.select_related("model", "active_version__model").get(pk=collection.pk)


def run_until_at_rest() -> None:
    """Also what snoozes."""
    while run_all():
        Job.objects.filter(state="scheduled").update(run_at=Now())


def steps(collection: Collection) -> list[tuple[str, str]]:
    entries = AuditEntry.objects.filter(target=str(collection.pk), action__startswith="migration.").order_by("pk")
    return list(entries.values_list("action", "actor"))


def test_the_hourly_rebuild_moves_a_collection_to_an_encoder_that_was_built_anew(
    updated: Any,
) -> None:
    add_chunks(updated, ["one that came with the update"])
    with pytest.raises(SearchUnavailable):
        search(None, "rain", collection=updated.name, mode="vector")

    rebuilding.rebuild_all()
    run_until_at_rest()

    found = again(updated)
    assert found.model.digest == registry.load("ngram").identity.digest != updated.model.digest
    assert found.active_version.model == found.model
    assert (found.encoder, found.candidate_encoder, found.previous_encoder) == ("ngram", "", "")
    assert Vector.objects.filter(model=found.model).count() == len(TEXTS) + 1
    reader.forget()
    assert "rain" in search(None, "about rain", collection=updated.name, mode="vector").hits[0].snippet.text
    assert steps(updated) == [(f"migration.{step}", "system") for step in ("begin", "switch", "close")]
    assert Job.objects.filter(task="embeddings.embed_batch").exists(), "it is shared among workers"
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded", "discarded"}


def test_it_goes_on_by_itself_after_its_jobs_are_gone(updated: Any) -> None:
    assert renewal.look_after(updated)
    Job.objects.all().delete()

    rebuilding.rebuild_all()
    run_until_at_rest()

    assert again(updated).model != updated.model


@pytest.mark.parametrize("pinned", ["encoder", "step"])
def test_what_a_person_decided_stays(updated: Any, pinned: str) -> None:
    if pinned == "encoder":
        updated.encoder = registry.pinned("ngram", updated.model.digest)
        updated.save()
    else:
        migration.begin(command_actor(), updated.name, "ngram")
        updated = again(updated)
    before = Job.objects.count()

    assert not renewal.look_after(updated)
    assert Job.objects.count() == before
    assert steps(updated) == ([] if pinned == "encoder" else [("migration.begin", command_actor().name)])


def test_hosts_with_different_programs_do_not_move_it_to_and_fro(
    updated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(renewal.MOST_A_DAY):
        renewal.SYSTEM.record("migration.begin", updated.pk)

    assert not renewal.look_after(updated)
    assert f"manage.py migrate_model {updated.name} begin ngram" in caplog.text


def test_an_encoder_that_is_the_same_or_not_here_is_left_alone(
    collection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not renewal.look_after(collection)

    def gone(_: str) -> Any:
        raise EncoderUnavailable("it is not here")

    monkeypatch.setitem(registry.KINDS, "ngram", gone)
    registry.forget("ngram")
    assert not renewal.look_after(collection)
    assert not AuditEntry.objects.exists()
