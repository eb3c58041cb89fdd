"""Migration, statistics and clean-up by REST and by commands."""

import json

import pytest
from django.core.management import CommandError, call_command

from embeddings.encoders import registry
from embeddings.models import Collection, CollectionStatistics, IndexVersion, VersionState
from embeddings.services import statistics
from embeddings.tests.factories import fill, make_collection, make_model
from jobs.models import AuditEntry, Job
from jobs.tests.api_client import caller, person, post, problem, root

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    # Nothing here loads it.
    monkeypatch.setitem(registry.KINDS, "test", lambda _: None)


def migration_of(name: str, step: str = "") -> str:
    return f"/api/v1/collections/{name}/migration/{step}"


def ready_version(collection: Collection, model, number: int) -> IndexVersion:
    from django.utils import timezone

    return IndexVersion.objects.create(
        collection=collection,
        number=number,
        model=model,
        engine="pgvector",
        state=VersionState.READY,
        built_at=timezone.now(),
        recall_mean=0.97,
    )


@pytest.fixture
def collection() -> Collection:
    made = make_collection("books", encoder="ngram", fast_encoder="", model=make_model(spec="ngram"))
    fill(made, 10)
    return made


def test_a_migration_goes_through_the_api(collection, monkeypatch):
    from embeddings.services import pointer

    monkeypatch.setattr(pointer, "_check_usable", lambda version: None)
    client = root()
    assert client.get(migration_of("books")).json()["step"] == "none"

    answer = post(client, migration_of("books"), {"encoder": "test"})
    assert answer.status_code == 202
    assert (answer.json()["step"], answer.json()["other_encoder"]) == ("candidate", "test")
    assert Job.objects.filter(task="embeddings.embed_candidate", kwargs__encoder="test").count() == 1
    assert post(client, migration_of("books", "again/")).status_code == 202

    candidate = make_model(spec="test")
    from embeddings.models import Chunk
    from embeddings.services.storing import store_vectors
    from embeddings.tests.factories import clustered

    shas = [bytes(sha) for sha in Chunk.objects.filter(collection=collection).values_list("content_sha", flat=True)]
    store_vectors(candidate, shas[:9], clustered(9))
    Collection.objects.filter(pk=collection.pk).update(candidate=candidate)
    refused = problem(post(client, migration_of("books", "switch/")), 409)
    assert refused["type"].endswith("candidate-not-ready")
    assert "lacks 1 of 10 chunks" in refused["detail"]
    store_vectors(candidate, shas, clustered(10))
    ready_version(collection, candidate, 2)

    found = client.get(migration_of("books")).json()
    assert (found["chunks"], found["missing"], found["version"], found["version_recall"]) == (10, 0, 2, 0.97)
    assert found["why_not"] == ""
    switched = post(client, migration_of("books", "switch/")).json()
    assert (switched["step"], switched["encoder"], switched["other_encoder"]) == ("previous", "test", "ngram")
    refused = problem(post(client, migration_of("books", "back/")), 409)
    assert refused["detail"] == "no good index of ngram is left; rebuild the index first"
    ready_version(collection, collection.model, 1)
    assert post(client, migration_of("books", "back/")).json()["encoder"] == "ngram"
    closed = post(client, migration_of("books", "close/")).json()
    assert (closed["step"], closed["other_encoder"], closed["run"]) == ("none", "", None)
    assert AuditEntry.objects.filter(action="migration.switch", via="api").exists()


def test_wrong_requests_are_told_what_is_wrong(collection):
    client = root()
    assert "choose from" in problem(post(client, migration_of("books"), {"encoder": "nonsense"}), 400)["detail"]
    make_collection("empty", encoder="ngram")
    same = problem(post(client, migration_of("empty"), {"encoder": "ngram"}), 409)
    assert same["errors"][0]["pointer"] == "#/encoder"
    assert problem(post(client, migration_of("books", "switch/")), 409)["type"].endswith("no-migration")
    problem(post(client, migration_of("nowhere"), {"encoder": "test"}), 404)
    problem(client.get(migration_of("nowhere")), 404)
    problem(client.get("/api/v1/collections/nowhere/statistics/"), 404)
    problem(post(client, migration_of("books", "compare/"), {"queries": []}), 400)
    problem(post(client, migration_of("books", "compare/"), {"queries": [" "]}), 400)
    problem(post(client, migration_of("books", "close/"), {"spurious": 1}), 400)
    problem(post(client, migration_of("books", "compare/")), 409)


def test_each_step_needs_its_permission(collection):
    client = caller(person("reader", "embeddings.view_collection"))
    assert client.get(migration_of("books")).status_code == 200
    for step in ("", "compare/", "again/", "switch/", "back/", "close/"):
        assert "activate_index" in problem(post(client, migration_of("books", step), {}), 403)["detail"]
    assert "build_index" in problem(post(client, "/api/v1/indexes/clean-up/"), 403)["detail"]
    problem(caller(person("nobody")).get(migration_of("books")), 403)


def test_statistics_come_in_pages_the_latest_first(collection):
    for _ in range(3):
        statistics.collect()
    client = root()

    page = client.get("/api/v1/collections/books/statistics/?page_size=2").json()

    assert [row["documents"] for row in page["results"]] == [10, 10]
    rest = client.get(page["next"]).json()
    assert (len(rest["results"]), rest["next"]) == (1, None)
    assert rest["results"][0]["at"] < page["results"][1]["at"]
    problem(client.get("/api/v1/collections/books/statistics/?cursor=x"), 400)
    assert CollectionStatistics.objects.count() >= 3


def test_a_clean_up_is_sent_as_a_job():
    sent = post(root(), "/api/v1/indexes/clean-up/")
    assert sent.status_code == 202
    job = Job.objects.get(pk=sent.json()["job"])
    assert (job.task, job.origin) == ("embeddings.clean_up", "api")


# --- commands ---


def test_the_command_shows_each_step(collection, capsys):
    call_command("migrate_model", "books", "begin", "test")
    assert "step            candidate" in capsys.readouterr().out
    call_command("migrate_model", "books", "status", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert (shown["encoder"], shown["other_encoder"], shown["missing"]) == ("ngram", "test", None)
    call_command("migrate_model", "books", "close")
    assert "step            none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["nowhere", "status"], 2, "unknown collection 'nowhere'"),
        (["books", "begin", "nonsense"], 2, "unknown encoder 'nonsense'"),
        (["books", "switch"], 1, "has no candidate to switch to; begin a migration first"),
        (["books", "back"], 1, "has no previous model to go back to"),
        (["books", "compare"], 1, "has no second model to compare with"),
    ],
)
def test_the_commands_errors_are_one_line(collection, words, code, text):
    with pytest.raises(CommandError, match=text) as caught:
        call_command("migrate_model", *words)
    assert caught.value.returncode == code


def test_clean_index_tells_what_it_removed_or_would(collection, indexes_dir, capsys):
    from embeddings.models import Chunk, Vector

    Vector.objects.update(created_at="2020-01-01T00:00Z")
    Chunk.objects.filter(collection=collection).delete()

    call_command("clean_index", "--dry-run")
    assert capsys.readouterr().out.strip() == "would remove: 10 vectors"
    call_command("clean_index", "--json")
    assert json.loads(capsys.readouterr().out)["vectors"] == 10
    call_command("clean_index")
    assert capsys.readouterr().out.strip() == "removed: nothing"
    call_command("clean_index", "--send")
    assert "sent as job" in capsys.readouterr().out
