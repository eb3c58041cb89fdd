"""Cutting texts: every text is covered, no chunk is too long, and what cuts badly still advances."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.chunking import LONGEST_TOKEN, Piece, cut, cut_each

PROSE = "The first sentence is here. Another one follows it, as it must.\n\nA paragraph of its own! Is it? It is."

words = st.text(alphabet="abcdeéß", min_size=1, max_size=12)
joints = st.sampled_from([" ", " ", " ", ". ", "! ", "\n", "\n\n", " \n \n", "  ", "\t", "。", "-", "", " " * 200])
oddities = st.sampled_from(
    ["", "x" * 300, "漢字仮名", "\u200b" * 90, "a\u0301" * 40, "🙂🙂", "\u00ad", "...", "'\"'\""]
)
texts = st.lists(st.tuples(words, joints, oddities, joints), max_size=60).map(
    lambda parts: "".join(one for part in parts for one in part)
)
sizes = st.integers(16, 64).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, (size - 1) // 2)))


def covered(text: str, pieces: list[Piece]) -> set[int]:
    return {place for start, end, _ in pieces for place in range(start, end)}


@given(texts, sizes)
@settings(max_examples=60, deadline=None)
def test_all_but_blanks_is_in_some_chunk_and_every_chunk_fits(text: str, size: tuple[int, int]) -> None:
    chunk_tokens, overlap = size

    pieces = cut(text, chunk_tokens, overlap)

    assert {place for place, one in enumerate(text) if not one.isspace()} <= covered(text, pieces)
    for start, end, n_tokens in pieces:
        assert text[start:end].strip() == text[start:end] != ""
        assert 1 <= n_tokens <= chunk_tokens
    assert all(one.start <= two.start and one.end < two.end for one, two in itertools.pairwise(pieces))
    assert cut(text, chunk_tokens, overlap) == pieces


@given(st.lists(texts, max_size=4), sizes)
@settings(max_examples=20, deadline=None)
def test_texts_are_cut_together_as_they_are_alone(several: list[str], size: tuple[int, int]) -> None:
    assert cut_each(several, *size) == [cut(text, *size) for text in several]


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u3000"])
def test_blanks_alone_have_no_chunk(text: str) -> None:
    assert cut(text, 32, 4) == []


def test_a_short_text_is_one_chunk_without_the_blanks_around_it() -> None:
    assert [piece[:2] for piece in cut("  two words\n", 32, 4)] == [(2, 11)]


def test_the_end_of_a_paragraph_is_preferred_then_of_a_sentence_then_of_a_word() -> None:
    def first(text: str) -> str:
        start, end, _ = cut(text, 16, 0)[0]
        return text[start:end]

    many = "one two three four five six seven eight nine ten one two"
    assert first(f"{many} three.\n\nNew four. Five six seven eight").endswith("three.")
    assert first(f"{many} three. Four five six seven eight nine").endswith("three.")
    assert first(f"{many} three four five six seven eight").endswith("four five six")


def test_neighbours_share_about_the_overlap_and_begin_with_a_word() -> None:
    text = " ".join(["seven"] * 400)

    pieces = cut(text, 40, 10)

    for one, two in itertools.pairwise(pieces):
        assert text[two.start : one.end].split() == ["seven"] * 10


def test_a_word_without_end_is_cut_and_every_piece_stays_short() -> None:
    pieces = cut("x" * 100_000, 32, 8)

    assert covered("x" * 100_000, pieces) == set(range(100_000))
    assert max(piece.end - piece.start for piece in pieces) <= 32 * LONGEST_TOKEN


def test_a_long_text_has_as_many_chunks_as_its_length_asks_for() -> None:
    text = (PROSE + " ") * 3_000

    pieces = cut(text, 200, 20)

    tokens = sum(piece.n_tokens for piece in pieces)
    assert tokens / 200 <= len(pieces) <= tokens / 120 + 1
    assert pieces[-1].end == len(text.rstrip())


@pytest.mark.parametrize("overlap", [-1, 16, 40])
def test_an_overlap_that_would_not_advance_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="less than half"):
        cut("text", 32, overlap)
