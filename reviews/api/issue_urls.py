"""Issues."""

from django.urls import path

from reviews.api import issue_views

urlpatterns = [
    path("issues/", issue_views.IssuesView.as_view(), name="issues"),
    path("issues/<int:issue_id>/", issue_views.IssueView.as_view(), name="issue"),
    path("issues/<int:issue_id>/enrich/", issue_views.EnrichView.as_view(), name="issue-enrich"),
]
