"""Reviews and their findings."""

from django.urls import path

from reviews.api import review_views as views

urlpatterns = [
    path("reviews/", views.ReviewsView.as_view(), name="reviews"),
    path("reviews/<int:review_id>/", views.ReviewView.as_view(), name="review"),
    path("reviews/<int:review_id>/retry/", views.RetryReviewView.as_view(), name="review-retry"),
    path("reviews/<int:review_id>/cancel/", views.CancelReviewView.as_view(), name="review-cancel"),
    path("reviews/<int:review_id>/findings/", views.FindingsOfReviewView.as_view(), name="review-findings"),
    path("findings/", views.FindingsView.as_view(), name="findings"),
    path("findings/<int:finding_id>/", views.FindingView.as_view(), name="finding"),
    path("findings/<int:finding_id>/dismiss/", views.DismissView.as_view(), name="finding-dismiss"),
    path("findings/<int:finding_id>/resolve/", views.ResolveView.as_view(), name="finding-resolve"),
]
