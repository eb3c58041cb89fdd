"""Documents and collections."""

from django.urls import URLPattern, path

from embeddings.api import collection_views, document_views

# An id may hold any character, a slash too; so what is no id comes first.
urlpatterns: list[URLPattern] = [
    path("documents/", document_views.DocumentsView.as_view(), name="documents"),
    path("documents/delete/", document_views.DeleteDocumentsView.as_view(), name="documents-delete"),
    path("documents/<path:document_id>/", document_views.DocumentView.as_view(), name="document"),
    path("collections/", collection_views.CollectionsView.as_view(), name="collections"),
    path("collections/<str:name>/", collection_views.CollectionView.as_view(), name="collection"),
]
