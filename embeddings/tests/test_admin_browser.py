"""Pages in a real Chromium: what a document brings along is shown, and never run; narrow screens have room."""

from typing import Any

from embeddings.models import EmbeddingBatch
from embeddings.services import documents, runs
from embeddings.tests import encoder_doubles
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.tests.searching_helpers import put, searchable
from embeddings.tests.test_documents_admin import LIST, collection_page, document_page
from jobs.tests.chromium import HOSTILE, IN_CHROMIUM, Watched, browser, watched

__all__ = ["browser", "watched"]
assert encoder_doubles

pytestmark = IN_CHROMIUM


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


def test_no_text_of_a_document_breaks_a_page_however_narrow(watched: Watched) -> None:
    notes = make_collection("notes", fast_encoder="", description=HOSTILE)
    hostile = {"id": HOSTILE, "text": HOSTILE * 20 + "x" * 3000, "metadata": {HOSTILE: HOSTILE}}
    documents.put(None, notes, [hostile, {"id": "y" * 255, "text": "long id"}])

    for width in (1400, 380):
        watched.page.set_viewport_size({"width": width, "height": 900})
        for path in (
            f"{LIST}?collection=notes",
            document_page(HOSTILE),
            document_page("y" * 255),
            document_page(HOSTILE, "remove"),
            *(collection_page(notes, page) for page in ("change", "edit", "remove")),
        ):
            watched.open(path)
            assert watched.page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert watched.problems == []
