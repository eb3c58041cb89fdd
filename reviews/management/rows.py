"""What the operators' commands of reviews share: what refuses."""

from jobs.management import rows
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused
from reviews.github.errors import GitHubError
from reviews.operators.deliveries import NotRedelivered
from reviews.operators.findings import FindingNotChanged
from reviews.operators.lookups import BadReference
from reviews.operators.reviews import ReviewNotChanged, ReviewRefused
from reviews.services.code_index import IndexRefused
from reviews.services.throttle import Throttled


class RowsCommand(rows.RowsCommand):
    wrong_use = (NotHere, BadReference, SettingsRefused)
    failed = (
        *(ReviewRefused, ReviewNotChanged, FindingNotChanged, NotRedelivered, IndexRefused),
        *(GitHubError, Throttled),
    )
