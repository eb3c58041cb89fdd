"""Models and encoders, as operators see and build them: command, API, admin."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command

from embeddings.encoders import load, registry, weights
from embeddings.models import EmbeddingModel
from embeddings.services import encoder_builds, model_rows
from embeddings.tests.factories import make_collection, make_model
from jobs.models import AuditEntry, Job, State
from jobs.operators.actors import Actor, command_actor
from jobs.tests.admin_helpers import client_with, page_of, said, user_with
from jobs.tests.api_client import caller, person, post, problem
from jobs.tests.live import LiveWorkers

pytestmark = pytest.mark.django_db

VIEW, BUILD = "embeddings.view_embeddingmodel", "embeddings.build_encoder"
MODELS = "/api/v1/models/"


@pytest.fixture
def without_weights(settings: Any, tmp_path: Path) -> None:
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": str(tmp_path / "none")}


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("encoders", *arguments, stdout=out)
    return out.getvalue()


def test_an_encoder_has_one_row_and_what_was_measured_last() -> None:
    encoder = load("ngram")

    row = model_rows.model_for(encoder)

    assert model_rows.model_for(encoder) == row
    assert (row.spec, row.digest, row.dimension) == ("ngram", encoder.identity.digest, 384)
    EmbeddingModel.objects.update(parameters={"old": 1})
    model_rows.model_for(encoder)
    row.refresh_from_db()
    assert row.parameters == encoder.identity.parameters


def test_a_collection_takes_its_encoders_model_once() -> None:
    collection = make_collection(encoder="ngram")

    model = model_rows.resolve(collection)

    assert model.spec == "ngram"
    other = make_model()
    collection.model = other
    assert model_rows.resolve(collection) == other


def test_of_two_that_resolve_at_once_both_take_the_first_ones_model() -> None:
    collection = make_collection(encoder="ngram")
    late = type(collection).objects.get(pk=collection.pk)
    type(collection).objects.filter(pk=collection.pk).update(model=(first := make_model()))

    assert model_rows.resolve(late) == first


def test_the_command_lists_what_can_be_used_here_and_why_not(without_weights: None) -> None:
    rows = {row["spec"]: row for row in json.loads(run("list", "--json"))}

    assert rows["ngram"]["state"] == "ready"
    assert rows["ngram"]["is_default"]
    assert rows["minilm"]["state"] == "unavailable"
    assert "requirements/model.txt" in rows["minilm"]["reason"]
    assert run("list").splitlines()[0].startswith("ENCODER\tDEFAULT\tSTATE")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build", "nothing"], 2, "unknown encoder 'nothing'; choose from"),
        (["build", "ngram"], 2, "used as it is"),
        (["build", "static"], 2, "embeddings.fit_static"),
        (["build", "minilm"], 1, "has no model.safetensors"),
        (["check", "minilm"], 1, "has no model.safetensors"),
    ],
)
def test_what_cannot_be_built_is_told_with_its_exit_code(
    without_weights: None, arguments: list[str], code: int, message: str
) -> None:
    registry.forget("minilm")
    with pytest.raises(CommandError, match=message) as refused:
        run(*arguments)
    assert refused.value.returncode == code


def test_a_check_measures_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings.encoders.quality.sample", lambda: [f"passage {n} of a book" for n in range(40)])

    found = json.loads(run("check", "ngram", "--json"))

    assert found["short_per_cpu_second"] > 100
    assert "top_10_overlap" not in found


def test_models_are_listed_and_found_by_the_api() -> None:
    first, second = make_model(spec="ngram"), make_model(spec="minilm")
    EmbeddingModel.objects.filter(pk=second.pk).update(quality={"top_10_overlap": 0.961})
    reader = caller(person("reader", VIEW))

    rows = reader.get(MODELS).json()["results"]

    assert [row["id"] for row in rows] == [second.pk, first.pk]
    assert rows[0]["quality"] == {"top_10_overlap": 0.961}
    assert [row["id"] for row in reader.get(MODELS, {"spec": "ngram"}).json()["results"]] == [first.pk]
    page = reader.get(MODELS, {"page_size": 1}).json()
    assert [row["id"] for row in reader.get(page["next"]).json()["results"]] == [first.pk]
    assert reader.get(f"{MODELS}{first.pk}/").json()["digest"] == first.digest
    problem(reader.get(f"{MODELS}{10**30}/"), 404)
    problem(caller(person("stranger")).get(MODELS), 403)


def test_a_build_is_sent_by_the_api_once_and_recorded() -> None:
    builder = caller(person("builder", VIEW, BUILD))

    sent = post(builder, MODELS, {"spec": "minilm"})
    again = post(builder, MODELS, {"spec": "minilm"})

    assert sent.status_code == again.status_code == 202
    assert sent.json() == again.json()
    job = Job.objects.get(pk=sent.json()["job"])
    assert (job.task, job.queue, job.kwargs) == ("embeddings.build_encoder", "indexing", {"spec": "minilm"})
    assert AuditEntry.objects.filter(action="encoder.build", target="minilm", actor="builder", via="api").exists()


def test_the_api_refuses_builds_of_what_is_unknown_or_not_built_or_not_allowed() -> None:
    builder = caller(person("builder", VIEW, BUILD))

    assert "unknown encoder" in problem(post(builder, MODELS, {"spec": "x\x00"}), 400)["errors"][0]["detail"]
    problem(post(builder, MODELS, {"spec": ["minilm"]}), 400)
    problem(post(builder, MODELS, {"spec": "m" * 300}), 400)
    assert "used as it is" in problem(post(builder, MODELS, {"spec": "ngram"}), 409)["detail"]
    problem(post(caller(person("reader", VIEW)), MODELS, {"spec": "minilm"}), 403)


def test_a_build_needs_the_permission_whoever_asks() -> None:
    with pytest.raises(PermissionDenied, match=BUILD):
        encoder_builds.start_build(Actor.of_user(user_with(VIEW), "admin"), "minilm")


def test_the_admin_shows_models_and_sends_builds() -> None:
    model = make_model(spec="minilm")
    EmbeddingModel.objects.filter(pk=model.pk).update(
        quality={"top_10_overlap": 0.961}, parameters={"precision": "int8"}
    )
    operator = client_with(VIEW, BUILD)

    listed = operator.get(page_of("embeddings_embeddingmodel")).content.decode()
    page = page_of("embeddings_embeddingmodel", "change", model.pk)
    shown = operator.get(page).content.decode()
    built = operator.post(page_of("embeddings_embeddingmodel", "build", model.pk))

    assert "0.961" in listed
    assert "precision int8" in listed
    assert model.digest in shown
    assert "Build it again" in shown
    assert "The build has been sent" in said(built)
    assert Job.objects.filter(task="embeddings.build_encoder", kwargs={"spec": "minilm"}).count() == 1


def test_the_admin_offers_no_build_to_who_may_not_and_none_of_what_is_not_built() -> None:
    minilm, ngram = make_model(spec="minilm"), make_model(spec="ngram")
    reader = client_with(VIEW)

    assert (
        "Build it again" not in reader.get(page_of("embeddings_embeddingmodel", "change", minilm.pk)).content.decode()
    )
    assert reader.post(page_of("embeddings_embeddingmodel", "build", minilm.pk)).status_code == 403
    builder = client_with(VIEW, BUILD, name="bob")
    assert "used as it is" in said(builder.post(page_of("embeddings_embeddingmodel", "build", ngram.pk)))
    assert "no model" in said(builder.get(page_of("embeddings_embeddingmodel", "change", "0")))


def test_the_task_builds_and_keeps_the_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any) -> None:
    from embeddings import tasks
    from embeddings.encoders import quality
    from embeddings.tests import tiny_bert

    tiny_bert.write(tmp_path / "weights")
    settings.EMBEDDINGS = {
        **settings.EMBEDDINGS,
        "WEIGHTS": str(tmp_path / "weights"),
        "ENCODERS_DIR": tmp_path / "encoders",
    }
    monkeypatch.setattr(quality, "LEAST_OVERLAP", 0.1)
    monkeypatch.setattr(quality, "sample", lambda: [f"{one}{two}" for one in "abcdef" for two in "ghijkl"])

    done = tasks.build_encoder(spec="minilm")

    row = EmbeddingModel.objects.get(pk=done["model"])
    assert (row.spec, row.digest, row.dimension) == ("minilm", done["digest"], tiny_bert.DIMENSION)
    assert row.quality["passages"] == 36


@pytest.mark.long
@pytest.mark.skipif(not weights.are_installed(), reason="the weights are not installed: requirements/model.txt")
@pytest.mark.django_db(transaction=True)
def test_a_worker_builds_the_published_model(live_worker: LiveWorkers, ended: Any, tmp_path: Path) -> None:
    live_worker("indexing", concurrency=1, ENCODERS_DIR=str(tmp_path))

    job_id = encoder_builds.start_build(command_actor(), "minilm")

    job = ended(job_id, 240)
    assert job.state == State.SUCCEEDED, job.error
    assert EmbeddingModel.objects.get(spec="minilm").quality["top_10_overlap"] >= 0.93
    assert sorted(file.name for file in tmp_path.glob("*/*")) == ["manifest.json", "model.onnx", "probe.onnx"]
