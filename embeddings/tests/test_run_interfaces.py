"""Runs by REST, in the admin and by command: the same services, permissions and entries of the audit log."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from embeddings.models import Collection, EmbeddingRun, RunState, SetAside
from embeddings.services import runs
from embeddings.tasks import embed_all_documents
from embeddings.tests import encoder_doubles
from embeddings.tests.factories import add_chunks, make_collection
from jobs.models import AuditEntry, Job
from jobs.tests.admin_helpers import client_with, page_of, said
from jobs.tests.api_client import caller, person, post, problem

pytestmark = pytest.mark.django_db
RUNS, ASIDE = "/api/v1/runs/", "/api/v1/set-aside/"
assert encoder_doubles


def collection_of(*texts: str) -> Collection:
    collection = make_collection(encoder="double:plain", fast_encoder="")
    add_chunks(collection, texts)
    return collection


def done_run(*texts: str) -> EmbeddingRun:
    collection = collection_of(*texts)
    return EmbeddingRun.objects.get(pk=embed_all_documents(collection=collection.name)["run"])


def open_run(*texts: str) -> EmbeddingRun:
    collection = collection_of(*(texts or ("a", "b")))
    runs.catch_up(collection.name)
    return EmbeddingRun.objects.get(collection=collection)


def command(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()


# --- REST ---


def test_a_run_is_started_seen_and_cancelled(api: Client) -> None:
    collection = collection_of("a")
    started = post(api, RUNS, {"collection": collection.name})

    assert started.status_code == 201
    body = started.json()
    assert (body["state"], body["kind"], body["encoder"]) == ("planning", "full", "double:plain")
    assert Job.objects.get(pk=body["job"]).origin == "api"
    assert api.get(f"{RUNS}{body['id']}/").json()["id"] == body["id"]
    assert post(api, f"{RUNS}{body['id']}/cancel/").json()["state"] == "cancelled"
    assert problem(post(api, f"{RUNS}{body['id']}/cancel/"), 409)["type"].endswith("run-not-changed")
    assert AuditEntry.objects.filter(action="run.cancel", target=str(body["id"])).exists()


def test_the_list_is_filtered_and_paged(api: Client) -> None:
    first, second = done_run("a"), open_run("b", "c")

    def ids(query: str) -> list[int]:
        return [row["id"] for row in api.get(f"{RUNS}?{query}").json()["results"]]

    assert ids("") == [second.pk, first.pk]
    assert ids("state=done") == [first.pk]
    assert ids(f"collection={second.collection.name}") == [second.pk]
    assert ids("kind=catch_up&kind=fast") == [second.pk]
    page = api.get(f"{RUNS}?page_size=1").json()
    assert [row["id"] for row in api.get(page["next"]).json()["results"]] == [first.pk]
    running = api.get(f"{RUNS}{second.pk}/").json()
    assert (running["total"], running["remaining"], running["figures"]["batches"]["sent"]) == (2, 2, 1)
    assert len(running["batches"]) == 1


def test_bad_input_is_told_by_name(api: Client) -> None:
    collection = collection_of("a")

    assert "nowhere" in problem(post(api, RUNS, {"collection": "nowhere"}), 404)["detail"]
    assert "nonsense" in problem(post(api, RUNS, {"collection": collection.name, "encoder": "nonsense"}), 400)["detail"]
    assert "migration" in problem(post(api, RUNS, {"collection": collection.name, "encoder": "ngram"}), 400)["detail"]
    problem(post(api, RUNS, {"collection": ["x"]}), 400)
    problem(post(api, RUNS, {}), 400)
    problem(api.get(f"{RUNS}?state=odd"), 400)
    problem(api.get(f"{RUNS}?cursor=odd"), 400)
    problem(api.get(f"{RUNS}{2**70}/"), 404)
    problem(post(api, f"{ASIDE}retry/", {"collection": collection.name, "ids": ["x"]}), 400)
    problem(post(api, f"{ASIDE}retry/", {"collection": collection.name, "ids": [2**80]}), 400)


def test_what_was_set_aside_is_listed_and_tried_again(api: Client) -> None:
    run = done_run("a", "REFUSE")
    row = api.get(f"{ASIDE}?collection={run.collection.name}").json()["results"][0]

    assert row["reason"] == "the double refuses it"
    assert row["document"]
    answer = post(api, f"{ASIDE}retry/", {"collection": run.collection.name, "ids": [row["id"]]}).json()
    assert answer["count"] == 1
    assert EmbeddingRun.objects.get(pk=answer["run"]).state == RunState.PLANNING
    assert post(api, f"{ASIDE}retry/", {"collection": run.collection.name}).json() == {"count": 0, "run": None}


def test_each_path_asks_for_its_permission() -> None:
    run = open_run("a")
    viewer = caller(person("vera", "embeddings.view_embeddingrun"))

    assert viewer.get(RUNS).status_code == 200
    for path in (RUNS, f"{RUNS}{run.pk}/cancel/", f"{ASIDE}retry/"):
        problem(post(viewer, path, {"collection": run.collection.name}), 403)
    problem(viewer.get(ASIDE), 403)
    run.refresh_from_db()
    assert run.state == RunState.RUNNING


def test_runs_of_a_collection_that_is_for_others_are_not_seen(django_user_model: Any) -> None:
    from django.contrib.auth.models import Group

    run = done_run("REFUSE")
    run.collection.groups.add(Group.objects.create(name="insiders"))
    permissions = ("embeddings.view_embeddingrun", "embeddings.view_setaside", "embeddings.start_run")
    outsider = caller(person("otto", *permissions))

    assert outsider.get(RUNS).json()["results"] == []
    assert outsider.get(ASIDE).json()["results"] == []
    problem(outsider.get(f"{RUNS}{run.pk}/"), 404)
    problem(post(outsider, f"{RUNS}{run.pk}/cancel/"), 404)
    problem(post(outsider, RUNS, {"collection": run.collection.name}), 404)


# --- the admin ---


def test_the_admin_lists_shows_and_follows_runs(admin_client: Client) -> None:
    run, other = open_run("a", "b"), done_run("x", "REFUSE <b>it</b>")

    listed = admin_client.get(page_of("embeddings_embeddingrun")).content.decode()
    assert "0 of 2" in listed
    assert "1 embedded, 1 set aside" in listed
    page = admin_client.get(page_of("embeddings_embeddingrun", "change", other.pk)).content.decode()
    assert "the double refuses it" in page
    assert "Try all again" in page
    status = admin_client.get(page_of("embeddings_embeddingrun", "status", run.pk)).json()
    assert (status["state"], status["progress"], status["finished"]) == ("running", 0, False)
    assert admin_client.get(page_of("embeddings_embeddingrun", "change", 10**9)).status_code == 302
    assert admin_client.get(page_of("embeddings_setaside")).status_code == 200


def test_the_admin_starts_cancels_and_tries_again(admin_client: Client) -> None:
    run, other = open_run("a"), done_run("x", "NAN")

    asked = admin_client.get(page_of("embeddings_embeddingrun", "cancel", run.pk))
    assert b"what would follow" in asked.content
    assert "is cancelled" in said(admin_client.post(page_of("embeddings_embeddingrun", "cancel", run.pk)))
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    started = admin_client.post(page_of("embeddings_embeddingrun", "start"), {"collection": run.collection.name})
    assert EmbeddingRun.objects.filter(collection=run.collection, state=RunState.PLANNING).exists()
    assert started.status_code == 302
    refused = admin_client.post(page_of("embeddings_embeddingrun", "start"), {"collection": "nowhere"})
    assert "unknown collection" in said(refused)
    again = admin_client.post(page_of("embeddings_setaside", "retry"), {"collection": other.collection.name})
    assert "1 of" in said(again)
    assert not SetAside.objects.exists()


def test_chosen_rows_are_tried_again_from_the_list(admin_client: Client) -> None:
    run = done_run("x", "NAN", "REFUSE")
    chosen = SetAside.objects.order_by("id").first()
    assert chosen is not None
    answer = admin_client.post(
        page_of("embeddings_setaside"), {"action": "try_selected", "_selected_action": [str(chosen.pk)]}
    )

    assert said(answer) == f"1 of {run.collection.name} is tried again."
    assert SetAside.objects.count() == 1


def test_who_may_only_look_gets_no_buttons_and_no_way_around() -> None:
    run = open_run("a")
    client = client_with("embeddings.view_embeddingrun")

    page = client.get(page_of("embeddings_embeddingrun", "change", run.pk)).content.decode()
    assert page_of("embeddings_embeddingrun", "cancel", run.pk) not in page
    assert client.post(page_of("embeddings_embeddingrun", "cancel", run.pk)).status_code == 403
    assert client.post(page_of("embeddings_embeddingrun", "start")).status_code == 403
    assert client.post(page_of("embeddings_setaside", "retry")).status_code == 403


# --- commands ---


def test_commands_start_list_show_and_cancel() -> None:
    collection = collection_of("a")
    run_id = command("embed", "start", collection.name).strip()

    assert json.loads(command("embed", "show", run_id, "--json"))["state"] == "planning"
    assert [row["id"] for row in json.loads(command("embed", "list", "--json"))] == [int(run_id)]
    assert "is cancelled" in command("embed", "cancel", run_id)
    with pytest.raises(CommandError, match="only one under way") as failed:
        command("embed", "cancel", run_id)
    assert failed.value.returncode == 1


def test_the_digest_of_a_static_table_is_shown_short_and_whole_where_there_is_room(
    admin_client: Client, api: Client
) -> None:
    run = open_run("a")
    spec = f"static:{'ff64b388' * 8}"
    EmbeddingRun.objects.filter(pk=run.pk).update(encoder=spec)

    for page in (page_of("embeddings_embeddingrun"), page_of("embeddings_embeddingrun", "change", run.pk)):
        shown = admin_client.get(page).content.decode()
        assert "static:ff64b388…" in shown
        assert shown.count(spec) == shown.count(f'title="{spec}"') > 0
    assert "\tstatic:ff64b388…\t" in command("embed", "list")
    assert json.loads(command("embed", "list", "--json"))[0]["encoder"] == spec
    assert api.get(f"{RUNS}{run.pk}/").json()["encoder"] == spec


def test_commands_list_what_was_set_aside_and_try_it_again() -> None:
    run = done_run("REFUSE")

    assert json.loads(command("embed", "set-aside", "--json"))[0]["reason"] == "the double refuses it"
    assert json.loads(command("embed", "try-again", run.collection.name, "--json"))["state"] == "planning"
    assert "nothing is set aside" in command("embed", "try-again", run.collection.name)


def test_rebuild_index_sends_the_chain_and_waits_no_longer_than_it_is_told() -> None:
    collection = collection_of("a")
    sent = json.loads(command("rebuild_index", collection.name, "--json"))

    assert Job.objects.get(pk=sent["job"]).task == "embed_all_documents"
    with pytest.raises(CommandError, match="not done after 0 s: embed_all_documents: queued") as late:
        command("rebuild_index", collection.name, "--wait", "--timeout", "0")
    assert late.value.returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        ("rebuild_index", "nowhere"),
        ("rebuild_index", "--timeout", "-1"),
        ("embed", "start", "nowhere"),
        ("embed", "start", "documents", "--encoder", "odd"),
        ("embed", "show", "999999"),
        ("embed", "list", "--limit", "0"),
    ],
)
def test_wrong_use_is_told_in_a_line_and_ends_with_2(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as wrong:
        command(*words)
    assert wrong.value.returncode == 2
    assert "\n" not in str(wrong.value)
