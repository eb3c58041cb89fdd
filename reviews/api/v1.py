"""Every path of the app under /api/v1/; each module lists its own."""

from django.urls import URLPattern

from reviews.api import delivery_urls, issue_urls, repository_urls, review_urls, settings_urls

urlpatterns: list[URLPattern] = [
    *issue_urls.urlpatterns,
    *repository_urls.urlpatterns,
    *review_urls.urlpatterns,
    *delivery_urls.urlpatterns,
    *settings_urls.urlpatterns,
]
