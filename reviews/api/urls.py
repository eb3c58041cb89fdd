from django.urls import path

from reviews.api.webhook import github_webhook

urlpatterns = [path("github/", github_webhook, name="github-webhook")]
