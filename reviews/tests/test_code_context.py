"""What of a repository is given to a reviewer: users of what a change alters, similar code, its guidelines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reviews.code import context as contexts
from reviews.code import mirror as mirrors
from reviews.code import mirror_git
from reviews.code.breaking import Effect, changed_definitions
from reviews.code.context import ContextBudget, RepositoryContext, context_of
from reviews.code.mirror import Mirror
from reviews.github.shapes import GitRemote
from reviews.models import Repository
from reviews.standin.repositories import Repo
from reviews.tests.code_repositories import IndexedRepo

pytestmark = pytest.mark.django_db

PRICES = """\
def total(items, tax):
    return sum(items) + tax


def discount(amount):
    return amount * 0.9


class Basket:
    def __init__(self, owner):
        self.owner = owner

    def add(self, item):
        return item
"""
CHECKOUT = """\
from shop.prices import Basket, discount, total


def pay(items):
    # The price with tax.
    return total(items, 0.2)


def offer(amount):
    return discount(amount)


def begin(owner):
    basket = Basket(owner)
    basket.add(1)
"""
FILES = {
    "shop/prices.py": PRICES,
    "shop/checkout.py": CHECKOUT,
    "tests/test_prices.py": "from shop.prices import total\n\n\ndef test_total():\n    assert total([1], 1) == 2\n",
    "other/sums.py": "from other.maths import total\n\n\ndef run():\n    return total(1)\n",
    "other/maths.py": "def total(x):\n    return x\n\n\ndef discount(x):\n    return x\n",
    "web/app.js": "function run() { return total([1]) }\n",
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


def callers(shop: IndexedRepo, **files: str) -> list[tuple[str, str]]:
    """(path, why) of what uses the names that `shop/prices.py` changes."""
    change = shop.change({path.replace("__", "/") + ".py": text for path, text in files.items()})
    return [(one.path, one.why) for one in context_of(shop.repository).callers(change)]


def test_a_changed_signature_names_its_callers_outside_the_change(shop: IndexedRepo):
    shop.index(FILES)

    change = shop.change({"shop/prices.py": PRICES.replace("def total(items, tax)", "def total(items, tax, land)")})
    found = context_of(shop.repository).callers(change)

    why = "calls total, whose signature this change alters"
    assert [(one.path, one.why) for one in found] == [
        ("shop/checkout.py", f"pay {why}"), ("tests/test_prices.py", f"test_total {why}"),
    ]  # fmt: skip
    assert "    return total(items, 0.2)" in found[0].text.split("\n")
    assert found[0].text.split("\n")[0] == CHECKOUT.split("\n")[found[0].line - 1]
    assert found[0].end_line - found[0].line == found[0].text.count("\n")


def test_a_removed_function_comes_before_one_whose_body_changed(shop: IndexedRepo):
    shop.index(FILES)
    after = PRICES.replace("def discount(amount):\n    return amount * 0.9\n", "").replace("+ tax", "- tax")

    assert callers(shop, shop__prices=after)[:2] == [
        ("shop/checkout.py", "offer calls discount, which this change removes"),
        ("shop/checkout.py", "pay calls total, whose body this change alters"),
    ]


@pytest.mark.long
def test_a_constructor_is_used_by_its_class_name(shop: IndexedRepo):
    shop.index(FILES)

    assert callers(shop, shop__prices=PRICES.replace("self, owner", "self, owner, currency")) == [
        ("shop/checkout.py", "begin calls Basket, whose signature this change alters"),
    ]


@pytest.mark.long
def test_files_of_the_change_are_not_outside_it(shop: IndexedRepo):
    shop.index(FILES)
    after = PRICES.replace("items, tax", "items, tax, land")

    found = callers(shop, shop__prices=after, shop__checkout=CHECKOUT.replace("0.2)", "0.2, 1)"))

    assert [path for path, _ in found] == ["tests/test_prices.py"]


@pytest.mark.long
def test_a_function_that_moved_is_told_as_moved(shop: IndexedRepo):
    shop.index(FILES)
    gone = PRICES.replace("def discount(amount):\n    return amount * 0.9\n", "")
    change = shop.change({"shop/prices.py": gone, "shop/new.py": "def discount(amount):\n    return amount * 0.9\n"})

    assert [(one.called, one.effect) for one in changed_definitions(change)] == [("discount", Effect.MOVED)]


@pytest.mark.long
def test_what_cannot_be_read_or_parsed_is_passed_over(shop: IndexedRepo):
    shop.index(FILES)
    change = shop.change({"shop/prices.py": b"\x00\x01", "a.py": "x" * 600_000, "image.png": b"\x89"})

    assert context_of(shop.repository).callers(change) == ()


@pytest.mark.long
def test_answers_keep_to_their_limit_and_budget(shop: IndexedRepo):
    uses = {f"use{number:02}.py": CHECKOUT for number in range(30)}
    shop.index({**FILES, **uses})
    change = shop.change({"shop/prices.py": PRICES.replace("items, tax", "items, tax, land")})

    assert len(context_of(shop.repository).callers(change)) == 20
    small = RepositoryContext(shop.repository, budget=ContextBudget(callers=700)).callers(change)
    assert 0 < sum(len(one.text) for one in small) <= 700


@pytest.mark.long
def test_without_an_index_or_a_mirror_there_is_no_answer(shop: IndexedRepo):
    shop.origin.commit(FILES)
    change = shop.change({"shop/prices.py": "\n"})
    context = context_of(shop.repository)
    assert (context.callers(change), context.similar("def f(): pass"), context.guidelines()) == ((), (), ())

    shop.index()
    Mirror(shop.repository).remove()

    assert (context.callers(change), context.guidelines()) == ((), ())


def test_guidelines_are_those_of_the_base_branch(shop: IndexedRepo):
    (shop.origin.path / "CLAUDE.md").symlink_to("AGENTS.md")
    (shop.origin.path / "REVIEW.md").symlink_to("/etc/passwd")
    shop.index({"AGENTS.md": "Be brief.\n", ".github/copilot-instructions.md": "Tabs.\n", "docs/x.md": "no\n",
                "contributing.md": "Sign.\n" + "x" * 20_000})  # fmt: skip
    base = shop.origin.head()

    found = context_of(shop.repository, base).guidelines()

    assert [(one.path, one.text[:9]) for one in found] == [
        ("AGENTS.md", "Be brief."), (".github/copilot-instructions.md", "Tabs.\n"), ("contributing.md", "Sign.\nxxx"),
    ]  # fmt: skip
    assert len(found[2].text) == contexts.MAX_GUIDELINE
    shop.index({"AGENTS.md": "Be long.\n"})
    assert context_of(shop.repository, base).guidelines()[0].text == "Be brief.\n"
    assert context_of(shop.repository).guidelines()[0].text == "Be long.\n"


def test_similar_code_is_found_in_this_repository_alone(shop: IndexedRepo, monkeypatch: pytest.MonkeyPatch):
    from embeddings.corpus import Corpus
    from embeddings.models import Document
    from embeddings.services.answers import Hit
    from embeddings.services.snippets import Snippet

    shop.index(FILES)
    asked = {}

    def similar(self, *, text, k, filters):
        asked.update(filters)
        found = Document.objects.filter(collection__name=self.name, metadata__symbol__in=["pay", "discount"])
        return [
            Hit(id=one.external_id, score=0.8 if one.metadata["symbol"] == "pay" else 0.1, rank=1, tier="main",
                snippet=Snippet("", ()), metadata=one.metadata, chunk={"start": 0, "end": len(one.text)}, explain={},
                document_id=one.pk)
            for one in found
        ]  # fmt: skip

    monkeypatch.setattr(Corpus, "similar", similar)

    (found,) = context_of(shop.repository).similar("return total(items, 0.3)")

    assert asked == {"repository_id": shop.repository.pk}
    assert (found.path, found.line, found.end_line) == ("shop/checkout.py", 4, 6)
    assert found.why == "pay resembles the changed code (0.80 of 1)"
    assert context_of(shop.repository).similar(CHECKOUT) == ()
