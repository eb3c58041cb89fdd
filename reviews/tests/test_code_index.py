"""The index of code: what is read, what is kept when files change, and who runs it."""

import json
import random
import string
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.models.functions import Now

from embeddings.models import Document
from jobs import Discard, Snooze
from jobs.models import AuditEntry, Job
from jobs.operators.actors import Actor, command_actor
from reviews.code import indexing, mirror_git, storing
from reviews.code import mirror as mirrors
from reviews.code.locks import advisory_lock
from reviews.code.mirror import Mirror, MirrorRefused
from reviews.code.mirror_reading import contents
from reviews.github.shapes import GitRemote
from reviews.models import CodeFile, CodeIndex, IndexState, Repository
from reviews.services import code_index
from reviews.standin.repositories import Files, Repo
from reviews.tests.code_repositories import IndexedRepo

pytestmark = pytest.mark.django_db

FILES: Files = {
    "shop/prices.py": "def total(items):\n    return sum(items)\n\n\ndef tax(amount):\n    return amount * 0.2\n",
    "shop/cart.py": "from shop.prices import total\n\n\nclass Cart:\n    def sum(self):\n        return total([1])\n",
    "web/app.js": "import {total} from './prices.js'\nfunction show() { return total([1]) }\n",
    "README.md": "A shop.\n",
    "vendor/lib.py": "def x(): pass\n",
    "image.py": b"\x00\x01",
}


@pytest.fixture
def shop(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexedRepo]:
    settings.REVIEWS = {**settings.REVIEWS, "MIRRORS_DIR": tmp_path / "mirrors"}
    origin = Repo(tmp_path / "origin")
    monkeypatch.setattr(mirror_git, "PROTOCOLS", frozenset({"file"}))
    monkeypatch.setattr(mirrors, "remote_of", lambda _: GitRemote(f"file://{origin.path}", {}))
    made = IndexedRepo(origin, Repository.objects.create(github_id=7, full_name="acme/shop"))
    yield made
    made.close()


def documents() -> dict[str, str]:
    """Symbol or path → text."""
    found = Document.objects.filter(collection__name=storing.COLLECTION)
    return {f"{one.metadata['path']}: {one.metadata['symbol']}": one.text for one in found}


def read_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The blobs that are read from here on."""
    seen: list[str] = []

    def reading(mirror, blobs):
        wanted = list(blobs)
        seen.extend(wanted)
        return contents(mirror, wanted)

    monkeypatch.setattr(indexing, "contents", reading)
    return seen


def test_a_first_run_keeps_definitions_uses_and_chunks(shop: IndexedRepo):
    done = shop.index(FILES)

    assert shop.symbols() == {
        "shop/prices.py: total", "shop/prices.py: tax", "shop/cart.py: Cart", "shop/cart.py: Cart.sum",
        "web/app.js: show",
    }  # fmt: skip
    assert shop.uses("total") == {"shop/cart.py:1", "shop/cart.py:6", "web/app.js:1", "web/app.js:2"}
    assert documents()["shop/prices.py: tax"] == "def tax(amount):\n    return amount * 0.2"
    row = shop.row()
    assert (row.state, row.sha, row.error) == (IndexState.READY, shop.origin.head(), "")
    assert (row.files, row.symbols, row.chunks) == (3, 5, len(documents()))
    assert row.skipped == {"not a known language": 1, "vendored": 1, "binary": 1} == done["skipped"]
    assert row.mirror_bytes > 0
    assert row.indexed_at is not None
    metadata = Document.objects.get(metadata__symbol="tax").metadata
    assert metadata == {
        "repository": "acme/shop", "repository_id": shop.repository.pk, "path": "shop/prices.py",
        "language": "python", "symbol": "tax", "line": 5, "end_line": 6,
    }  # fmt: skip


def test_names_and_paths_that_are_too_long_to_be_kept_end_no_run(shop: IndexedRepo):
    chance = random.Random(1)
    folders = ("".join(chance.choices(string.ascii_letters, k=120)) for _ in range(24))
    places = f"{'Outer' * 30}::{'Inner' * 30}"

    done = shop.index({"a.cpp": f"void f() {{ {places}::apply(); }}\n", f"{'/'.join(folders)}/b.py": "x = 1\n"})

    assert (shop.row().state, shop.uses("apply")) == (IndexState.READY, {"a.cpp:1"})
    assert done["skipped"] == {"a path that cannot be kept": 1}


@pytest.mark.long
def test_blobs_that_are_known_are_not_read_again(shop: IndexedRepo, monkeypatch: pytest.MonkeyPatch):
    shop.index(FILES)
    seen = read_of(monkeypatch)

    assert shop.index({"web/app.js": "function other() {}\n"})["read"] == 1

    assert seen == [shop.file("web/app.js").blob]
    assert "web/app.js: other" in shop.symbols()
    assert "web/app.js: show" not in shop.symbols()
    assert shop.index()["read"] == 0
    assert shop.row().skipped["binary"] == 1


def test_what_is_gone_is_deleted_and_the_rest_keeps_its_documents(shop: IndexedRepo):
    shop.index(FILES)
    before = {one.external_id: one.pk for one in Document.objects.all()}
    kept = Document.objects.get(metadata__symbol="tax")

    shop.index({"shop/prices.py": "import math\n\n\ndef tax(amount):\n    return amount * 0.2\n", "web/app.js": None})

    after = Document.objects.get(metadata__symbol="tax")
    assert (after.pk, after.external_id, after.metadata["line"]) == (kept.pk, kept.external_id, 4)
    assert sorted(documents()) == ["shop/cart.py: Cart", "shop/prices.py: tax"]
    assert {one.external_id for one in Document.objects.all()} < set(before)
    assert shop.uses("total") == {"shop/cart.py:1", "shop/cart.py:6"}
    assert shop.row().chunks == 2


def test_a_renamed_file_keeps_its_row_symbols_and_documents(shop: IndexedRepo):
    shop.index(FILES)
    row = shop.file("shop/prices.py")
    symbols = set(row.symbol_rows.values_list("pk", flat=True))
    document = Document.objects.get(metadata__symbol="tax").pk

    shop.index({"shop/prices.py": None, "shop/money.py": FILES["shop/prices.py"]})

    moved = shop.file("shop/money.py")
    assert moved.pk == row.pk
    assert set(moved.symbol_rows.values_list("pk", flat=True)) == symbols
    assert Document.objects.get(metadata__symbol="tax").pk == document
    assert Document.objects.get(pk=document).metadata["path"] == "shop/money.py"
    assert not CodeFile.objects.filter(path="shop/prices.py").exists()


@pytest.mark.long
def test_a_second_file_with_the_same_content_has_chunks_of_its_own(shop: IndexedRepo):
    shop.index({"a.py": "def f():\n    return 1\n"})
    shop.index({"b.py": "def f():\n    return 1\n"})

    assert sorted(documents()) == ["a.py: f", "b.py: f"]
    shop.index({"a.py": None})
    assert sorted(documents()) == ["b.py: f"]


@pytest.mark.long
def test_all_is_read_again_where_the_collection_or_the_reader_is_another_one(shop: IndexedRepo, monkeypatch):
    shop.index(FILES)
    Document.objects.all().delete()
    assert shop.index()["read"] == 4
    assert "shop/cart.py: Cart" in documents()

    monkeypatch.setattr(indexing, "INDEXER", indexing.INDEXER + 1)
    assert shop.index()["read"] == 4
    assert shop.index()["read"] == 0
    assert len(shop.symbols()) == 5


@pytest.mark.long
def test_paths_that_the_settings_exclude_are_left_out_and_taken_out(shop: IndexedRepo):
    shop.index(FILES)
    Repository.objects.update(excluded_paths=["web/"])

    shop.index()

    assert shop.row().skipped["excluded by the settings"] == 1
    assert "web/app.js: show" not in shop.symbols()


@pytest.mark.long
def test_a_run_that_fails_half_way_keeps_what_it_has_and_the_next_goes_on(shop: IndexedRepo, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH_FILES", 1)
    real, calls = storing.store, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("no more")
        real(*arguments)

    monkeypatch.setattr(storing, "store", failing)
    with pytest.raises(OSError, match="no more"):
        shop.index(FILES)
    assert (shop.row().state, shop.row().error) == (IndexState.FAILED, "OSError; its job tells more")

    assert shop.index()["read"] == 2
    assert (shop.row().state, shop.row().error) == (IndexState.READY, "")
    assert len(shop.symbols()) == 5


@pytest.mark.long
def test_a_mirror_that_turns_out_damaged_is_made_anew(shop: IndexedRepo):
    shop.index(FILES)
    shop.origin.commit({"new.py": "def new(): pass\n"})
    mirror = Mirror(shop.repository)
    mirror.update()
    for pack in (mirror.folder / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        with pack.open("r+b") as file:
            file.seek(20)
            file.write(b"\xff" * 200)

    shop.index()

    assert "new.py: new" in shop.symbols()


def test_a_push_during_a_run_makes_one_more(shop: IndexedRepo, monkeypatch: pytest.MonkeyPatch):
    shop.origin.commit(FILES)
    real, seen = indexing._fetch, []

    def fetch(mirror, wanted):
        sha = real(mirror, wanted)
        seen.append(sha)
        if len(seen) == 1:
            head = shop.origin.commit({"late.py": "def late(): pass\n"})
            assert code_index.request_for_push(shop.repository, head)
            assert shop.row().state == IndexState.RUNNING
        return sha

    monkeypatch.setattr(indexing, "_fetch", fetch)
    done = shop.index()

    assert done["rounds"] == 2
    assert seen == [shop.origin.git("rev-parse", "HEAD~1"), shop.origin.head()]
    assert shop.row().sha == shop.origin.head() == shop.row().wanted_sha
    assert "late.py: late" in shop.symbols()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_second_run_leaves_it_to_the_first_unless_that_has_looked_for_the_last_time(shop: IndexedRepo):
    shop.index(FILES)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with advisory_lock(f"index {shop.repository.pk}"):
            held.set()
            done.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(120)
    with pytest.raises(Snooze):
        shop.index()
    CodeIndex.objects.update(state=IndexState.RUNNING, job_id="first")
    assert shop.index() == {"left_to": "first"}
    done.set()
    thread.join()
    # The first has died: its state says that it runs, and nobody holds the lock.
    assert shop.index()["sha"] == shop.origin.head()


def test_a_lock_is_free_again_before_postgres_has_ended_the_connection_of_who_had_it(
    db: None, monkeypatch: pytest.MonkeyPatch
):
    open_still: list[DatabaseWrapper] = []

    def stay_open(connection: DatabaseWrapper) -> None:
        open_still.append(connection)

    with monkeypatch.context() as patched:
        patched.setattr(DatabaseWrapper, "close", stay_open)
        for _ in range(2):
            with advisory_lock("index 1") as is_held:
                assert is_held

    assert len(open_still) == 2
    for connection in open_still:
        connection.close()


def test_pushes_send_one_job_for_a_repository_that_is_indexed(shop: IndexedRepo):
    first = code_index.request_for_push(shop.repository, "a" * 40)

    assert code_index.request_for_push(shop.repository, "b" * 40) == first
    row = shop.row()
    assert (row.state, row.wanted_sha, row.job_id) == (IndexState.QUEUED, "b" * 40, first)
    assert (job := Job.objects.get(pk=first)).queue == "index_lane"
    assert job.kwargs == {"repository_id": shop.repository.pk}

    CodeIndex.objects.update(state=IndexState.READY, sha="b" * 40)
    assert code_index.request_for_push(shop.repository, "b" * 40) == ""
    assert code_index.request_if_missing(shop.repository) == ""
    shop.repository.index_enabled = False
    assert code_index.request_for_push(shop.repository, "c" * 40) == ""


def test_an_operator_may_ask_and_is_recorded(shop: IndexedRepo):
    user = User.objects.create(username="ann", is_staff=True)
    with pytest.raises(PermissionDenied, match="index_repository"):
        code_index.request(Actor.of_user(user, "admin"), shop.repository)

    sent = code_index.request(command_actor(), shop.repository)

    assert Job.objects.filter(pk=sent, task="index_repository").exists()
    assert AuditEntry.objects.get(action="index.request").target == "acme/shop"
    shop.repository.index_enabled = False
    with pytest.raises(code_index.IndexRefused, match="switched off for acme/shop"):
        code_index.request(command_actor(), shop.repository)


def test_a_refusal_is_told_on_the_row(shop: IndexedRepo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Mirror, "update", lambda *_: (_ for _ in ()).throw(MirrorRefused("fetching failed: no")))

    with pytest.raises(MirrorRefused):
        shop.index()

    assert (shop.row().state, shop.row().error) == (IndexState.FAILED, "fetching failed: no")


def test_a_run_that_is_interrupted_at_the_keyboard_is_not_shown_as_running(shop: IndexedRepo, monkeypatch):
    monkeypatch.setattr(Mirror, "update", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        code_index.run_now(command_actor(), shop.repository)

    assert shop.row().state == IndexState.FAILED
    assert "the next run goes on" in shop.row().error


def test_a_repository_that_is_gone_is_discarded(shop: IndexedRepo):
    code_index.request(command_actor(), shop.repository)
    Repository.objects.update(index_enabled=False)

    with pytest.raises(Discard, match="switched off"):
        shop.index()

    assert shop.row().state == IndexState.NONE
    with pytest.raises(Discard, match="gone"):
        code_index.update(10**9)


def test_removing_takes_mirror_rows_and_documents_also_when_the_repository_is_deleted(shop: IndexedRepo):
    shop.index(FILES)
    other = Repository.objects.create(github_id=8, full_name="acme/other")
    code_index.update(other.pk)
    assert len(Document.objects.all()) == 8
    folder = Mirror(shop.repository).folder
    pk = shop.repository.pk

    assert code_index.remove(pk) == {"mirror": True, "files": 4, "chunks": 4}

    assert not folder.exists()
    assert not CodeIndex.objects.filter(repository=pk).exists()
    other_pk = other.pk
    other.delete()
    assert code_index.remove(other_pk)["chunks"] == 4
    assert not Document.objects.exists()
    assert code_index.remove(other_pk) == {"mirror": False, "files": 0, "chunks": 0}


def test_a_repository_that_is_given_back_before_its_removal_runs_keeps_its_index(shop: IndexedRepo):
    shop.index(FILES)

    assert "kept" in code_index.remove_if_gone(shop.repository.pk)

    assert shop.row().state == IndexState.READY
    Repository.objects.update(removed_at=Now())
    assert code_index.remove_if_gone(shop.repository.pk)["files"] == 4


def test_a_repository_that_is_given_back_while_its_index_goes_is_indexed_anew(
    shop: IndexedRepo, monkeypatch: pytest.MonkeyPatch
):
    shop.index(FILES)
    Repository.objects.update(removed_at=Now())
    remove = storing.remove_documents

    def given_back(repository_id: int) -> int:
        Repository.objects.update(removed_at=None)
        return remove(repository_id)

    monkeypatch.setattr(storing, "remove_documents", given_back)
    code_index.remove_if_gone(shop.repository.pk)

    assert shop.row().state == IndexState.QUEUED
    assert Job.objects.filter(task="index_repository").exists()


@pytest.mark.long
def test_code_is_searched_by_its_readers_alone(shop: IndexedRepo):
    from embeddings.services import collections

    shop.index(FILES)
    user = User.objects.create(username="ann")

    with pytest.raises(collections.UnknownCollection):
        collections.find(storing.COLLECTION, user)
    assert collections.find(storing.COLLECTION).groups.get().name == storing.READERS


def test_the_command_sends_jobs_or_indexes_here(shop: IndexedRepo):
    shop.origin.commit(FILES)

    def run(*arguments: str) -> str:
        out = StringIO()
        call_command("index_repository", *arguments, stdout=out, stderr=StringIO())
        return out.getvalue()

    sent = json.loads(run("acme/shop", "--json"))
    assert Job.objects.filter(pk=sent["job"]).exists()
    assert json.loads(run("--all", "--json")) == [{"repository": "acme/shop", "job": sent["job"]}]
    assert "3 files, 5 symbols" in run("Acme/Shop", "--now")
    for arguments in (("acme/nope",), (), ("acme/shop", "--all")):
        with pytest.raises(CommandError) as raised:
            run(*arguments)
        assert raised.value.returncode == 2
