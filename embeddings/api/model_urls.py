from django.urls import path

from embeddings.api import model_views

urlpatterns = [
    path("models/", model_views.ModelsView.as_view(), name="models"),
    path("models/<int:model_id>/", model_views.ModelView.as_view(), name="model"),
]
