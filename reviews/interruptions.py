"""What ends or postpones the running job: let through by whoever else goes on after an error."""

from celery.exceptions import SoftTimeLimitExceeded

from jobs import Snooze
from jobs.ledger.errors import JobCancelled, JobMovedOn

INTERRUPTIONS = (Snooze, JobCancelled, JobMovedOn, SoftTimeLimitExceeded)
