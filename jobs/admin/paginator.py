"""Lists that never count a big table."""

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.views import ChangeList

CAP = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to a cap, so its cost and the deepest page are bounded whatever the table holds."""

    template_name = "jobs/pagination.html"

    @cached_property
    def _counted(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return rows.order_by()[: CAP + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, CAP)

    @property
    def is_capped(self) -> bool:
        return self._counted > CAP

    @property
    def count_text(self) -> str:
        """For people: "37", or "10,000+"."""
        return f"{CAP:,}+" if self.is_capped else f"{self.count:,}"


class CappedChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The header would else offer "10000 results (Show all)" as if it were the whole.
        self.full_result_count = self.result_count
