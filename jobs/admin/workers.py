"""Workers, as they last reported themselves."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin
from jobs.models import Job, State, Worker
from jobs.operators.queues import workers

PILLS = {"alive": "good", "silent": "bad", "stopped": "quiet"}


def worker_pill(worker: Any) -> SafeString:
    """worker: with the `state` of jobs.operators.queues.workers."""
    return show.pill(worker.state, PILLS[worker.state])


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        *("name_cell", "state_cell", "queues_cell", "children", "running_cell"),
        *("memory_cell", "heartbeat_cell", "started_cell"),
    )
    list_display_links = None
    ordering = ("-heartbeat_at",)
    list_filter_submit = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        mine = Job.objects.filter(state=State.RUNNING, worker=OuterRef("pk")).order_by().values("worker")
        running = Coalesce(Subquery(mine.annotate(count=Count("pk")).values("count")), 0)
        return workers().annotate(running_jobs=running).order_by(*self.ordering)

    def change_view(self, request: HttpRequest, object_id: str, *args: object, **kwargs: object) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)

    @display(description="Worker")
    def name_cell(self, worker: Worker) -> SafeString:
        return format_html(
            '<span class="sy-two"><strong>{}</strong><span class="sy-note">{}, process {}</span></span>',
            worker.name,
            worker.host,
            worker.pid,
        )

    @display(description="State")
    def state_cell(self, worker: Any) -> SafeString:
        return worker_pill(worker)

    @display(description="Queues")
    def queues_cell(self, worker: Worker) -> str:
        return ", ".join(str(queue) for queue in worker.queues)

    @display(description="Running jobs")
    def running_cell(self, worker: Any) -> SafeString:
        query = urlencode({"state": "running", "worker": worker.name})
        url = f"{reverse('admin:jobs_job_changelist')}?{query}"
        return format_html('<a class="sy-link" href="{}">{}</a>', url, worker.running_jobs)

    @display(description="Memory")
    def memory_cell(self, worker: Worker) -> str:
        return show.bytes_text(worker.memory_bytes)

    @display(description="Heartbeat")
    def heartbeat_cell(self, worker: Worker) -> SafeString | str:
        return show.ago(worker.heartbeat_at)

    @display(description="Started")
    def started_cell(self, worker: Worker) -> SafeString | str:
        return show.ago(worker.started_at)
