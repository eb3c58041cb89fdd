from django.urls import path

from embeddings.api import index_views

urlpatterns = [
    path("indexes/", index_views.IndexesView.as_view(), name="indexes"),
    path("indexes/<int:version_id>/activate/", index_views.ActivateView.as_view(), name="index-activate"),
    path("indexes/<int:version_id>/verify/", index_views.VerifyView.as_view(), name="index-verify"),
    path("indexes/<int:version_id>/", index_views.IndexView.as_view(), name="index-version"),
]
