from django.contrib import admin
from django.urls import include, path

# Here and not at every start: commands and workers need no pages.
admin.autodiscover()

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("jobs.api.urls")),
    path("api/v1/", include("embeddings.api.urls")),
    path("api/v1/", include("reviews.api.v1")),
    path("api/v1/", include("reminders.api.urls")),
    path("", include("reminders.urls")),
    path("webhooks/", include("reviews.api.urls")),
]

# Problem details under /api/, and 503 instead of 500 while Postgres is away.
handler400 = "jobs.api.problems.bad_request"
handler403 = "jobs.api.problems.permission_denied"
handler404 = "jobs.api.problems.not_found"
handler500 = "jobs.api.problems.server_error"
