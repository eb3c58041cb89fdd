"""GitHub accesses, installations, language models and their calls, replies, and indexes of code."""

from django.urls import path

from reviews.api import access_views, llm_views, work_views

urlpatterns = [
    path("github-accesses/", access_views.AccessesView.as_view(), name="github-accesses"),
    path("github-accesses/check/", access_views.CheckEnvironmentView.as_view(), name="github-environment-check"),
    path("github-accesses/<int:access_id>/", access_views.AccessView.as_view(), name="github-access"),
    path("github-accesses/<int:access_id>/check/", access_views.CheckAccessView.as_view(), name="github-access-check"),
    path("installations/", access_views.InstallationsView.as_view(), name="installations"),
    path("installations/<int:installation_id>/", access_views.InstallationView.as_view(), name="installation"),
    path("llm-providers/", llm_views.ProvidersView.as_view(), name="llm-providers"),
    path("llm-providers/<int:provider_id>/", llm_views.ProviderView.as_view(), name="llm-provider"),
    path("llm-providers/<int:provider_id>/check/", llm_views.CheckProviderView.as_view(), name="llm-provider-check"),
    path("llm-calls/", llm_views.CallsView.as_view(), name="llm-calls"),
    path("llm-calls/sums/", llm_views.SumsView.as_view(), name="llm-calls-sums"),
    path("llm-calls/<int:call_id>/", llm_views.CallView.as_view(), name="llm-call"),
    path("replies/", work_views.RepliesView.as_view(), name="replies"),
    path("replies/<int:reply_id>/", work_views.ReplyView.as_view(), name="reply"),
    path("code-indexes/", work_views.CodeIndexesView.as_view(), name="code-indexes"),
    path("code-indexes/<int:index_id>/", work_views.CodeIndexView.as_view(), name="code-index"),
]
