"""Pages in a real Chromium: what a document brings along is shown, and never run; narrow screens have room."""

from typing import Any

import pytest

from embeddings.models import EmbeddingBatch
from embeddings.services import runs
from embeddings.tests import encoder_doubles
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.tests.searching_helpers import put, searchable
from jobs.tests.test_admin_browser import CHROMIUM, HOSTILE, Watched, browser, watched

__all__ = ["browser", "watched"]
assert encoder_doubles

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: install it, or set CHROMIUM to its path"),
]


def test_a_run_with_batches_fits_a_narrow_screen(watched: Watched) -> None:
    collection = make_collection(encoder="double:plain", fast_encoder="")
    add_chunks(collection, ["a", "b"])
    runs.catch_up(collection.name)
    EmbeddingBatch.objects.update(first_id=1_000_000, last_id=1_000_255, state="split", error="out of memory " * 9)
    page: Any = watched.page
    page.set_viewport_size({"width": 400, "height": 800})

    watched.open(f"/admin/embeddings/embeddingrun/{EmbeddingBatch.objects.get().run_id}/change/")

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('[aria-label=Batches]'))")
    assert watched.problems == []


def test_a_search_is_made_and_narrowed_on_a_narrow_screen(watched: Watched) -> None:
    collection = searchable(name="travel")
    put(
        collection,
        [
            {
                "id": HOSTILE[:200],
                "text": f"The night train {HOSTILE} leaves.",
                "metadata": {"year": 2024, "x": HOSTILE},
            },
            {"id": "slow", "text": "The slow train leaves at night.", "metadata": {"year": 2020}},
        ],
    )
    page: Any = watched.page
    page.set_viewport_size({"width": 400, "height": 800})

    watched.open("/admin/embeddings/search/")
    page.fill("[name=q]", '"night train"')
    page.select_option("[name=collection]", "travel")
    page.click("button:text-is('Search')")
    page.wait_for_selector("mark:text-is('night')")
    assert page.locator(".sy-hits > li").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.click("summary:has-text('Filter by metadata')")
    page.fill("[name=filter]", '{"year": {"lt": 2022}}')
    page.click("button:text-is('Search')")
    page.wait_for_selector("h2:has-text('1 document in travel')")
    assert page.locator(".sy-hits h3").inner_text() == "1. slow"
    assert watched.problems == []
