"""Every path of the app under /api/v1/; each module lists its own."""

from embeddings.api import document_urls, index_urls, migration_urls, model_urls, run_urls, search_urls

urlpatterns = [
    *document_urls.urlpatterns,
    *run_urls.urlpatterns,
    *index_urls.urlpatterns,
    *search_urls.urlpatterns,
    *model_urls.urlpatterns,
    *migration_urls.urlpatterns,
]
