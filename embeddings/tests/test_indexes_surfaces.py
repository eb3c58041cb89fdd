"""Index versions through the API, the admin and the command: one service, one permission, one audit entry."""

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from embeddings.models import Collection, IndexVersion, VersionState
from embeddings.services import store
from embeddings.tests.factories import fill, make_collection, make_model, make_version
from jobs.models import AuditEntry, Job
from jobs.tests.admin_helpers import client_with, page_of, said
from jobs.tests.api_client import caller, person, post, problem, root

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("indexes_dir")]
LIST = "/api/v1/indexes/"


@pytest.fixture
def collection() -> Collection:
    return make_collection("wiki", model=make_model())


def cut(version: IndexVersion) -> None:
    with (store.local_folder(version) / "index.faiss").open("r+b") as file:
        file.truncate(100)


# --- API ---


def test_versions_are_listed_newest_first_and_filtered(collection: Collection) -> None:
    first, second = make_version(collection), make_version(collection, state=VersionState.REFUSED, reason="worse")
    other = make_version(make_collection(model=make_model()))
    api = root()

    assert [row["id"] for row in api.get(LIST).json()["results"]] == [other.pk, second.pk, first.pk]
    assert [row["id"] for row in api.get(LIST, {"collection": "wiki"}).json()["results"]] == [second.pk, first.pk]
    (row,) = api.get(LIST, {"state": "refused"}).json()["results"]
    assert (row["number"], row["state"], row["reason"], row["is_active"]) == (2, "refused", "worse", False)
    page = api.get(LIST, {"page_size": 2}).json()
    assert [row["id"] for row in api.get(page["next"]).json()["results"]] == [first.pk]


def test_a_version_is_shown_with_what_was_tried_and_when_it_was_used(collection: Collection) -> None:
    version = make_version(collection)
    post(root_ := root(), f"{LIST}{version.pk}/activate/", {"reason": "first"})

    shown = root_.get(f"{LIST}{version.pk}/").json()

    assert shown["is_active"]
    assert shown["manifest"]["tried"][0]["kind"] == "SQfp16"
    assert [(one["actor"], one["reason"]) for one in shown["activations"]] == [("root", "first")]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("999999/", None, 404),
        ("99999999999999999999999999/activate/", {}, 404),
        ("?state=gone", None, 400),
        ("?cursor=x", None, 400),
        ("?collection=%00", None, 400),
        ("?collecton=wiki", None, 400),
        ("", {"collection": "no such"}, 404),
        ("", {"collection": 7, "force": True}, 400),
        ("", [], 400),
    ],
)
def test_wrong_requests_are_named(collection: Collection, path: str, body: Any, status: int) -> None:
    api = root()

    problem(api.get(LIST + path) if body is None else post(api, LIST + path, body), status)


def test_what_cannot_be_activated_is_a_conflict(collection: Collection) -> None:
    refused, damaged = make_version(collection, state=VersionState.REFUSED), make_version(collection)
    cut(damaged)
    api = root()

    assert problem(post(api, f"{LIST}{refused.pk}/activate/"), 409)["type"].endswith("version-not-activated")
    assert "index.faiss" in problem(post(api, f"{LIST}{damaged.pk}/activate/"), 409)["detail"]
    assert problem(post(api, f"{LIST}{damaged.pk}/verify/"), 409)["type"].endswith("index-damaged")
    assert problem(post(api, f"{LIST}{refused.pk}/verify/"), 409)["type"].endswith("version-without-files")


def test_a_whole_version_is_told_with_its_files(collection: Collection) -> None:
    checked = post(root(), f"{LIST}{make_version(collection).pk}/verify/").json()

    assert list(checked["files"]) == ["ids.npy", "index.faiss"]


def test_a_rebuild_is_the_chain_of_three(collection: Collection) -> None:
    answer = post(root(), LIST, {"collection": "wiki"})

    assert answer.status_code == 202
    assert Job.objects.get(pk=answer.json()["job"]).task == "embed_all_documents"


def test_each_step_needs_its_permission(collection: Collection) -> None:
    version = make_version(collection)
    viewer = caller(person("ann", "embeddings.view_indexversion"))

    assert viewer.get(f"{LIST}{version.pk}/").status_code == 200
    problem(post(viewer, f"{LIST}{version.pk}/activate/"), 403)
    problem(post(viewer, LIST, {"collection": "wiki"}), 403)
    problem(caller(person("bob")).get(LIST), 403)
    assert not AuditEntry.objects.filter(action="index.activate").exists()


# --- admin ---


def page(version: IndexVersion, name: str = "change") -> str:
    return page_of("embeddings_indexversion", name, version.pk)


def test_the_list_and_a_page_say_what_is_in_use(admin_client: Client, collection: Collection) -> None:
    version = make_version(collection)
    refused = make_version(collection, state=VersionState.REFUSED, reason="its recall@10 is <b>0.5</b>")
    admin_client.post(page(version, "activate"), {"reason": "start"})

    listed = admin_client.get(page_of("embeddings_indexversion")).content.decode()
    shown = admin_client.get(page(version)).content.decode()

    assert "in use" in listed
    assert "&lt;b&gt;0.5" in listed
    assert all(text in shown for text in ("SQfp16", "start", "index.faiss", "Check its files"))
    assert "Activate" not in shown
    assert "its recall@10 is &lt;b&gt;" in admin_client.get(page(refused)).content.decode()


def test_activating_asks_first_and_tells_of_damage(admin_client: Client, collection: Collection) -> None:
    version = make_version(collection)
    assert b"Put version 1 of wiki in use?" in admin_client.get(page(version, "activate")).content
    collection.refresh_from_db()
    assert collection.active_version is None

    cut(version)
    answer = admin_client.post(page(version, "activate"))

    assert "index.faiss" in said(answer)
    assert "index.faiss" in said(admin_client.post(page(version, "verify")))
    collection.refresh_from_db()
    assert collection.active_version is None


def test_without_the_permission_there_is_no_button_and_no_way(collection: Collection) -> None:
    version = make_version(collection)
    viewer = client_with("embeddings.view_indexversion")

    shown = viewer.get(page(version)).content.decode()

    assert "Activate" not in shown
    assert "Rebuild" not in shown
    assert viewer.post(page(version, "activate")).status_code == 403
    assert viewer.post(page(version, "rebuild")).status_code == 403


def test_a_page_of_no_version_leads_to_the_list(admin_client: Client) -> None:
    for name in ("999", "x", "1%00"):
        answer = admin_client.get(page_of("embeddings_indexversion") + f"{name}/change/")
        assert answer.status_code in (302, 404)


# --- command ---


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    call_command("indexes", *args)
    return capsys.readouterr().out


def test_the_command_lists_shows_activates_and_checks(
    collection: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    version = str(make_version(collection).pk)

    assert "version 1 of wiki is in use" in printed(capsys, "activate", version, "--reason", "by hand")
    assert "in use already" in printed(capsys, "activate", version)
    assert "ids.npy" in printed(capsys, "verify", version)
    assert json.loads(printed(capsys, "list", "--collection", "wiki", "--json"))[0]["is_active"]
    assert json.loads(printed(capsys, "show", version, "--json"))["activations"][0]["reason"] == "by hand"
    assert "wiki\t1\tready\tyes" in printed(capsys, "list")
    assert AuditEntry.objects.filter(action="index.activate", via="command").count() == 1


def test_the_command_takes_a_collection_and_number_too(
    collection: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    make_version(make_collection(model=make_model()))
    version = make_version(collection)

    assert json.loads(printed(capsys, "show", "wiki/1", "--json"))["id"] == version.pk
    assert "version 1 of wiki is in use" in printed(capsys, "activate", "wiki/1")
    assert "is whole" in printed(capsys, "verify", "wiki/1")


def test_lists_and_the_page_tell_that_a_version_in_use_is_damaged(
    admin_client: Client, collection: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    version = make_version(collection)
    call_command("indexes", "activate", str(version.pk))
    listed = admin_client.get(page_of("embeddings_indexversion")).content.decode()
    assert f"id {version.pk}, test" in listed
    assert "damaged" not in listed

    cut(version)

    assert "in use, damaged" in admin_client.get(page_of("embeddings_indexversion")).content.decode()
    assert "100 bytes instead of" in admin_client.get(page(version)).content.decode()
    assert "ready\tdamaged" in printed(capsys, "list")
    assert "100 bytes instead of" in root().get(LIST).json()["results"][0]["damage"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["show", "999"], 2, "no index version 999"),
        (["show", "wiki/7"], 2, "no index version 'wiki/7'; see"),
        (["show", "wiki/99999999999999999999999"], 2, "no index version"),
        (["activate", "wiki"], 2, "give its id, or its collection and number, such as documents/5"),
        (["list", "--collection", "nowhere"], 2, "no collection 'nowhere'"),
        (["build", "nowhere"], 2, "no collection 'nowhere'"),
        (["list", "--limit", "0"], 2, "takes 1 to 1000"),
    ],
)
def test_wrong_use_of_the_command_is_named(args: list[str], code: int, said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        call_command("indexes", *args)

    assert caught.value.returncode == code


@pytest.mark.django_db(transaction=True)
def test_the_command_builds_and_puts_in_use(collection: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    fill(collection, 12)

    assert "ready: 12 vectors, SQfp16, recall@10 1.000" in printed(capsys, "build", "wiki")
    assert "is unchanged" in printed(capsys, "build", "wiki", "--activate")
    collection.refresh_from_db()
    assert collection.active_version is not None


def test_a_damaged_version_ends_the_command_with_one(collection: Collection) -> None:
    version = make_version(collection)
    cut(version)

    with pytest.raises(CommandError, match="100 bytes instead of") as caught:
        call_command("indexes", "activate", str(version.pk))

    assert caught.value.returncode == 1
