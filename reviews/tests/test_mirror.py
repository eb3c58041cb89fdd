"""Mirrors: what is fetched, from whom and with what credentials, and what becomes of damage."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reviews.code import mirror as mirrors
from reviews.code import mirror_git
from reviews.code.locks import advisory_lock
from reviews.code.mirror import CommitMissing, Mirror, MirrorBusy, MirrorFailed, MirrorRefused, MirrorTooLarge
from reviews.code.mirror_reading import content, contents, entries, extract, is_safe, trees
from reviews.github.client import GitHubClient
from reviews.github.shapes import GitRemote
from reviews.models import Repository
from reviews.standin.git import GitServer
from reviews.standin.repositories import Repo

pytestmark = pytest.mark.django_db
TOKEN = "ghs_" + "secret" * 6


@pytest.fixture
def origin(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "served" / "acme" / "shop.git")
    made.commit({"app.py": "def total():\n    return 1\n", "docs/a.md": "Hello\n"})
    return made


@pytest.fixture
def repository(settings, tmp_path: Path) -> Repository:
    settings.REVIEWS = {**settings.REVIEWS, "MIRRORS_DIR": tmp_path / "mirrors"}
    return Repository.objects.create(github_id=7, full_name="acme/shop")


@pytest.fixture
def mirror(repository: Repository, origin: Repo, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """Fetches from a folder."""
    monkeypatch.setattr(mirror_git, "PROTOCOLS", frozenset({"file"}))
    monkeypatch.setattr(mirrors, "remote_of", lambda _: GitRemote(f"file://{origin.path}", {}))
    return Mirror(repository)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    made = GitServer(tmp_path / "served", TOKEN)
    running = made.start()
    yield made
    made.go_on.set()
    running.shutdown()
    running.server_close()


def at(server: GitServer, monkeypatch: pytest.MonkeyPatch, token: str = TOKEN) -> None:
    """Have mirrors fetched from a server, as a client of GitHub tells it."""
    client = GitHubClient(server.url, token)
    monkeypatch.setattr(mirrors, "remote_of", lambda found: client.git_remote(found.full_name))


def paths(mirror: Mirror, commit: str) -> list[str]:
    return [entry.path for entry in entries(mirror, commit)]


def test_the_default_branch_is_mirrored_and_brought_up_to_date(mirror: Mirror, origin: Repo):
    assert mirror.update() == origin.head()
    head = origin.commit({"app.py": "def total():\n    return 2\n", "new.py": "x = 1\n"})

    assert mirror.update() == head

    assert paths(mirror, head) == ["app.py", "docs/a.md", "new.py"]
    blob = next(entry.blob for entry in entries(mirror, head) if entry.path == "app.py")
    assert content(mirror, blob) == b"def total():\n    return 2\n"


def test_a_head_that_is_on_no_branch_any_more_is_fetched_by_its_id(mirror: Mirror, origin: Repo):
    mirror.update()
    origin.git("checkout", "-q", "-b", "feature")
    head = origin.commit({"app.py": "def total(tax):\n    return tax\n"})
    origin.git("update-ref", "refs/pull/1/head", head)
    origin.git("checkout", "-q", "main")
    origin.git("branch", "-q", "-D", "feature")
    assert not mirror.has(head)

    mirror.ensure([head])

    assert mirror.has(head)
    assert mirror.update() == origin.head()


def test_a_commit_that_nobody_has_is_told_as_missing(mirror: Mirror):
    with pytest.raises(CommitMissing, match="1234567890"):
        mirror.ensure(["1234567890" * 4])
    with pytest.raises(CommitMissing, match="not the id of a commit"):
        mirror.ensure(["--upload-pack=/bin/true"])


@pytest.mark.long
def test_a_repository_without_a_commit_has_an_empty_mirror_until_it_gets_one(
    mirror: Mirror, tmp_path: Path, monkeypatch
):
    empty = Repo(tmp_path / "empty")
    monkeypatch.setattr(mirrors, "remote_of", lambda _: GitRemote(f"file://{empty.path}", {}))
    assert mirror.update() == ""
    assert mirror.update() == ""

    head = empty.commit({"a.py": "1\n"})

    assert mirror.update() == head


@pytest.mark.long
def test_a_force_push_is_followed(mirror: Mirror, origin: Repo):
    mirror.update()
    origin.git("checkout", "-q", "--orphan", "other")
    head = origin.commit({"app.py": "changed\n"})
    origin.git("branch", "-f", "main", head)
    origin.git("checkout", "-q", "main")

    assert mirror.update() == head


def test_over_https_the_token_goes_to_the_server_and_nowhere_else(
    repository: Repository, origin: Repo, server: GitServer, monkeypatch: pytest.MonkeyPatch
):
    at(server, monkeypatch)
    server.go_on.clear()  # until git has been seen
    seen: list[str] = []
    real = mirror_git.watched

    def watched(folder, *arguments, **options):
        def look() -> None:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if b"git" in (line := (process / "cmdline").read_bytes()):
                        seen.append(line.decode(errors="replace"))
                except OSError:
                    continue
            if any("fetch" in line for line in seen):
                server.go_on.set()
            options_check()

        options_check = options.pop("check")
        return real(folder, *arguments, check=look, **options)

    monkeypatch.setattr(mirror_git, "watched", watched)
    mirror = Mirror(repository)

    assert mirror.update() == origin.head()

    assert set(server.authorizations) == {server.wanted()}
    secret = server.wanted().split()[1]
    assert any("fetch" in line for line in seen)
    assert not [line for line in seen if TOKEN in line or secret in line]
    for file in mirror.folder.rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes()
            assert secret.encode() not in file.read_bytes()


def test_a_refused_token_is_told_without_it_and_not_tried_again(
    repository: Repository, origin: Repo, server: GitServer, monkeypatch: pytest.MonkeyPatch
):
    at(server, monkeypatch, token="ghs_wrong")

    with pytest.raises(MirrorRefused, match=r"did not take our token; see .* our access may read") as raised:
        Mirror(repository).update()

    assert "ghs_wrong" not in str(raised.value)
    assert len(server.refused) == 1


def test_a_redirect_does_not_take_the_token_along(
    repository: Repository, origin: Repo, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = GitServer(tmp_path / "served", TOKEN)
    running = elsewhere.start()
    server.redirect = elsewhere.url
    at(server, monkeypatch)

    with pytest.raises(MirrorFailed):
        Mirror(repository).update()

    running.shutdown()
    running.server_close()
    assert elsewhere.authorizations == []


@pytest.mark.long
def test_a_server_that_is_away_is_told_as_such(repository: Repository, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirrors, "remote_of", lambda _: GitRemote("http://127.0.0.1:9/a/b.git", {}))

    with pytest.raises(MirrorFailed, match="fetching failed") as raised:
        Mirror(repository).update()

    assert type(raised.value) is MirrorFailed


def test_other_protocols_are_not_spoken(repository: Repository, origin: Repo, tmp_path: Path, monkeypatch):
    marker = tmp_path / "run"
    for url in (f"file://{origin.path}", f"ext::touch {marker}", f"ssh://-oProxyCommand=touch {marker}/x"):
        monkeypatch.setattr(mirrors, "remote_of", lambda _, url=url: GitRemote(url, {}))
        with pytest.raises(MirrorFailed):
            Mirror(repository).update()
    assert not marker.exists()


@pytest.mark.long
@pytest.mark.parametrize("how", ["pack", "head", "refs"])
def test_a_damaged_mirror_is_cloned_anew(mirror: Mirror, origin: Repo, how: str):
    mirror.update()
    head = origin.commit({"more.py": "x = 1\n"})
    if how == "pack":
        for pack in (mirror.folder / "objects/pack").glob("*.pack"):
            pack.chmod(0o600)
            pack.write_bytes(b"damaged" * 100)
    elif how == "head":
        (mirror.folder / "HEAD").write_text("")
    else:
        (mirror.folder / mirrors.DEFAULT_REF).write_text("0" * 40)

    assert mirror.update() == head
    assert "more.py" in paths(mirror, head)


@pytest.mark.long
def test_locks_that_a_killed_git_left_do_not_keep_the_next_one_out(mirror: Mirror, origin: Repo):
    mirror.update()
    (mirror.folder / f"{mirrors.DEFAULT_REF}.lock").touch()
    (mirror.folder / "objects/pack/tmp_pack_x").write_bytes(b"half")
    head = origin.commit({"more.py": "x = 1\n"})

    assert mirror.update() == head
    assert not (mirror.folder / "objects/pack/tmp_pack_x").exists()


@pytest.mark.long
def test_the_mirror_of_another_installation_is_not_taken_for_ours(mirror: Mirror, origin: Repo):
    mirror.update()
    mirror.repository.github_id = 8
    other = Mirror(mirror.repository)

    assert not other.exists
    assert not other.has(origin.head())
    assert other.update() == origin.head()


@pytest.mark.long
def test_one_that_would_be_too_large_is_made_without_its_past(mirror: Mirror, origin: Repo, settings):
    for number in range(6):
        origin.commit({"large.bin": os.urandom(60_000) + bytes([number])})
    settings.REVIEWS = {**settings.REVIEWS, "MIRROR_MAX_BYTES": 200_000}

    assert mirror.update() == origin.head()
    assert (mirror.folder / "shallow").exists()
    head = origin.commit({"small.py": "x = 1\n"})
    assert mirror.update() == head

    settings.REVIEWS = {**settings.REVIEWS, "MIRROR_MAX_BYTES": 20_000}
    with pytest.raises(MirrorTooLarge, match="MIRROR_MAX_MB"):
        mirror.update()
    assert not mirror.folder.with_suffix(".new").exists()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_one_process_at_a_time_writes_to_a_mirror(mirror: Mirror, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirrors, "WAIT_SECONDS", 0.0)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with advisory_lock(f"mirror {mirror.repository.pk}") as is_held:
            assert is_held
            held.set()
            done.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(120)
    with pytest.raises(MirrorBusy, match="acme/shop"):
        mirror.update(wait_seconds=0)
    done.set()
    thread.join()
    assert mirror.update(wait_seconds=60)


def test_what_asks_to_stop_ends_git(
    repository: Repository, origin: Repo, server: GitServer, monkeypatch: pytest.MonkeyPatch
):
    at(server, monkeypatch)
    server.go_on.clear()  # so that git does not come to its end by itself
    mirror = Mirror(repository)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        mirror.update(stop)
    assert not mirror.exists
    assert not mirror.folder.with_suffix(".new").exists()


def test_trees_hold_regular_files_of_both_sides_and_are_thrown_away(mirror: Mirror, origin: Repo):
    base = origin.head()
    (origin.path / "link.py").symlink_to("/etc/passwd")
    head = origin.commit({"app.py": "two\n", "gone.py": "x\n", "big.bin": b"x" * (5 << 20)})

    made = trees(mirror.repository, base, head)
    with made.base() as one, made.head() as other:
        assert sorted(str(file.relative_to(one)) for file in one.rglob("*") if file.is_file()) == [
            "app.py",
            "docs/a.md",
        ]
        assert (other / "app.py").read_text() == "two\n"
        assert not (other / "link.py").is_symlink()
        assert not (other / "link.py").exists()
        assert not (other / "big.bin").exists()
    assert not one.exists()
    assert not other.exists()


def test_the_base_of_trees_is_where_the_sides_parted(mirror: Mirror, origin: Repo):
    origin.git("checkout", "-q", "-b", "feature")
    head = origin.commit({"app.py": "feature\n"})
    origin.git("checkout", "-q", "main")
    base = origin.commit({"later.py": "x = 1\n"})

    with mirrors.trees(mirror.repository, base, head).base() as folder:
        assert not (folder / "later.py").exists()
        assert (folder / "app.py").exists()


def test_a_tree_that_names_git_or_leads_outside_writes_nothing_there(mirror: Mirror, origin: Repo, tmp_path: Path):
    blob = origin.git("hash-object", "-w", "app.py")

    def tree(*lines: bytes) -> str:
        done = subprocess.run(["git", "mktree", "-z"], cwd=origin.path, input=b"\0".join(lines) + b"\0",
                              check=True, capture_output=True)  # fmt: skip
        return done.stdout.decode().strip()

    inner = tree(f"100644 blob {blob}\tevil".encode())
    top = tree(f"040000 tree {inner}\t..".encode(), f"040000 tree {inner}\t.git".encode(),
               f"100644 blob {blob}\tgood.py".encode())  # fmt: skip
    head = origin.git("commit-tree", top, "-m", "x")
    origin.git("update-ref", "refs/heads/main", head)
    mirror.update()
    folder = tmp_path / "out" / "tree"
    folder.mkdir(parents=True)

    assert extract(mirror, head, folder) == 1

    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["good.py", "tree"]
    assert not is_safe("a/../b")
    assert not is_safe("/etc/passwd")
    assert is_safe("a/b.py")


@pytest.mark.long
def test_contents_come_in_the_order_asked_for(mirror: Mirror, origin: Repo):
    head = origin.commit({f"file{number}.py": f"x = {number}\n" * number for number in range(300)})
    mirror.update()
    found = [entry for entry in entries(mirror, head) if entry.path.startswith("file")]

    read = [(blob, len(text)) for blob, text in contents(mirror, [entry.blob for entry in reversed(found)])]

    assert read == [(entry.blob, entry.size) for entry in reversed(found)]
