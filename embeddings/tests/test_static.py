"""The static table: what it makes of texts, and how it gets onto every host whole."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings import encoders
from embeddings.encoders import EncoderUnavailable, TextRefused, table_store
from embeddings.encoders.static import StaticTable
from embeddings.tests.static_tables import make_table, on_a_host, rows, share_in

pytestmark = pytest.mark.django_db
A, B, AND_B = 4, 5, 31  # the tokens a, b and ##b


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    share_in(tmp_path / "shared", settings)
    on_a_host(tmp_path / "first", monkeypatch)
    return tmp_path / "first" / "encoders" / "static"


@pytest.fixture
def table() -> StaticTable:
    return StaticTable.load(make_table().digest)


def test_a_text_points_where_the_sum_of_its_tokens_does(table: StaticTable) -> None:
    made = encoders.Encoded(*vars(table.encode(["a b", "AB a"])).values())

    for vector, tokens in zip(made.vectors, ([A, B], [A, AND_B, A]), strict=True):
        expected = rows()[tokens].sum(axis=0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    assert made.tokens == 5


def test_a_text_has_the_same_vector_in_any_company(table: StaticTable) -> None:
    texts = [f"{chr(97 + number % 26)} {chr(97 + number // 26)}" for number in range(600)]

    together = table.encode(texts).vectors

    np.testing.assert_array_equal(together[[0, 300, 599]], table.encode([texts[0], texts[300], texts[599]]).vectors)


def test_a_long_text_is_read_to_its_end(table: StaticTable) -> None:
    long = table.encode(["a " * 5000 + "b " * 5000]).vectors[0]

    np.testing.assert_allclose(long, table.encode(["a b"]).vectors[0], atol=1e-4)


def test_nothing_is_made_of_nothing(table: StaticTable) -> None:
    assert table.encode([]).vectors.shape == (0, 32)


@pytest.mark.parametrize(
    ("text", "why"), [("", "token"), (" \n\t", "token"), ("\x01", "token"), ("a \udfff", "Unicode")]
)
def test_a_text_that_cannot_be_embedded_is_named(table: StaticTable, text: str, why: str) -> None:
    with pytest.raises(TextRefused, match=why) as refused:
        table.encode(["a"] * 300 + [text, "b"])

    assert refused.value.index == 300


def test_its_rows_are_mapped_and_cannot_be_written_to(table: StaticTable, host: Path) -> None:
    mapped = Path("/proc/self/maps").read_text()

    assert str(host / table.identity.digest / "table.npy") in mapped
    with pytest.raises(ValueError, match="read-only"):
        table.rows[0] = 1


def test_the_digest_is_over_rows_and_tokenizer() -> None:
    tokenizer = b"{}"

    first, again = (table_store.write(rows(), tokenizer, {"any": "thing"}, {}) for _ in range(2))

    assert first == again
    assert first != table_store.write(rows(1), tokenizer, {}, {})
    assert first != table_store.write(rows(), b"[]", {}, {})


def test_the_newest_is_taken_also_by_a_process_that_had_another(host: Path) -> None:
    first = make_table()
    assert encoders.load("static").identity.digest == first.digest

    second = make_table(seed=1)

    assert encoders.load("static").identity.digest == second.digest
    assert encoders.load_exactly("static", first.digest).identity.digest == first.digest
    assert encoders.load(f"static:{first.digest}").identity.spec == "static"


def test_where_none_was_made_it_says_how_to() -> None:
    with pytest.raises(EncoderUnavailable, match="fit_static"):
        encoders.load("static")


def test_another_host_fetches_it(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_table()
    here = StaticTable.load(model.digest).encode(["a b c"]).vectors
    on_a_host(tmp_path / "second", monkeypatch)

    there = StaticTable.load(model.digest).encode(["a b c"]).vectors

    np.testing.assert_array_equal(here, there)
    assert _names(tmp_path / "second/encoders/static" / model.digest) == [
        "manifest.json",
        "table.npy",
        "tokenizer.json",
    ]


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("name", ["table.npy", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("harm", [_cut_short, _altered, _gone])
def test_a_damaged_table_is_fetched_again(host: Path, name: str, harm: Any) -> None:
    digest = make_table().digest
    harm(host / digest / name)

    assert StaticTable.load(digest).identity.digest == digest
    assert table_store.is_good(digest)


def test_a_damaged_table_that_nobody_else_has_says_so(host: Path, tmp_path: Path) -> None:
    digest = make_table().digest
    _altered(host / digest / "table.npy")
    _altered(tmp_path / "shared/static" / digest / "table.npy")

    with pytest.raises(EncoderUnavailable, match=f"{digest[:12]} is neither in .*cut short or altered"):
        StaticTable.load(digest)


def test_another_table_under_its_name_is_not_taken_for_it(host: Path, tmp_path: Path) -> None:
    one, other = make_table(), make_table(seed=1)
    shared = tmp_path / "shared/static"
    shutil.rmtree(host / one.digest)
    shutil.rmtree(shared / one.digest)
    shutil.copytree(shared / other.digest, shared / one.digest)

    with pytest.raises(EncoderUnavailable, match="under that name"):
        StaticTable.load(one.digest)


def test_a_manifest_of_a_later_format_is_not_guessed_at(host: Path) -> None:
    digest = make_table().digest
    manifest = host / digest / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 2}))

    with pytest.raises(table_store.TableDamaged, match="another format"):
        StaticTable(host / digest)


def test_a_publication_that_was_stopped_is_finished_by_the_next(host: Path, tmp_path: Path) -> None:
    digest = make_table().digest
    shared = tmp_path / "shared/static" / digest
    (shared / "manifest.json").unlink()
    _cut_short(shared / "table.npy")

    table_store.publish(digest)

    shutil.rmtree(host / digest)
    assert StaticTable.load(digest).identity.digest == digest
    assert len(_names(shared)) == 3


def test_what_a_killed_process_left_is_swept_after_a_day(host: Path) -> None:
    old, new = host / ".working-old", host / ".working-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))

    make_table()

    assert not old.exists()
    assert new.exists()


def test_a_full_disk_leaves_nothing_behind(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)

    with pytest.raises(OSError, match="No space"):
        make_table()

    assert _names(host) == []


def test_a_removed_table_serves_those_who_have_it(host: Path) -> None:
    table = StaticTable.load(make_table().digest)

    table_store.remove(table.identity.digest)

    assert table.encode(["a"]).vectors.shape == (1, 32)
    with pytest.raises(EncoderUnavailable):
        StaticTable.load(table.identity.digest)
