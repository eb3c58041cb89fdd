"""What an operator sees of outside effects, and decides about. The admin, the API and the commands all come here."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import QuerySet

from jobs.ledger import effects as store
from jobs.ledger.records import clean_text
from jobs.models import Effect, Job, State
from jobs.operators.actors import Actor
from jobs.operators.jobs import JobNotChanged, retry_job
from jobs.operators.search import is_storable

MAX_REASON = 1000
LARGEST_ID = 2**63 - 1


class EffectNotChanged(Exception):
    """The effect is not in a state that allows it; the message says why."""


@dataclass(frozen=True)
class Decided:
    """The effect, and what became of its job: why_not is empty if it was retried or nobody asked for that."""

    effect: Effect
    job_retried: bool
    why_not: str


@dataclass(frozen=True)
class EffectFigures:
    """tried: under way or cut off. doubled: of which the far side had more than one."""

    uncertain: int
    tried: int
    doubled: int


def effects() -> QuerySet[Effect]:
    """All of them, without what they send, which may be large and private."""
    return Effect.objects.defer("request")


def with_key(found: QuerySet[Effect], text: str) -> QuerySet[Effect]:
    """Those whose key begins with the text."""
    return found.filter(key__startswith=text) if is_storable(text) else found.none()


def find_effect(effect_id: int) -> Effect:
    """Raises Effect.DoesNotExist for an unknown number."""
    found = effects().filter(pk=effect_id).first() if 0 < effect_id <= LARGEST_ID else None
    if found is None:
        raise Effect.DoesNotExist(f"no effect {effect_id}")
    return found


def effect_figures() -> EffectFigures:
    """In one statement over indexes that hold few rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT count(*) FROM jobs_effect WHERE state = 'uncertain' AND state <> 'done'),
                   (SELECT count(*) FROM jobs_effect WHERE state = 'tried' AND state <> 'done'),
                   (SELECT count(*) FROM jobs_effect WHERE copies > 1)
            """
        )
        return EffectFigures(*cursor.fetchone())


def decide_effect(actor: Actor, effect_id: int, happened: bool, reason: str = "", retry: bool = False) -> Decided:
    """Say of an effect that may have happened whether it did: uncertain, or cut off → done or failed.

    If it happened, its job passes over it when it is retried; if not, it is tried again then. retry: retry the job
    at once, if it is failed or cancelled. Raises PermissionDenied (jobs.decide_effect, and jobs.retry_job to retry),
    Effect.DoesNotExist, or EffectNotChanged when there is nothing to decide.
    """
    actor.require("jobs.decide_effect")
    if retry:
        actor.require("jobs.retry_job")
    reason = clean_text(reason).strip()[:MAX_REASON]
    with transaction.atomic(), connection.cursor() as cursor:
        before = find_effect(effect_id)
        if not store.decide(cursor, effect_id, happened=happened, by=actor.name, reason=reason):
            raise EffectNotChanged(_why_not(find_effect(effect_id)))
        word = "happened" if happened else "not happened"
        actor.record("effect.decide", before.key, decided=word, reason=reason, was=before.state, job=before.job_id)
    retried, why_not = _retry(actor, before.job_id) if retry else (False, "")
    return Decided(find_effect(effect_id), retried, why_not)


def _why_not(effect: Effect) -> str:
    if effect.state == "uncertain":
        return f"effect {effect.pk} changed at this moment, and is uncertain again; decide it once more"
    advice = {
        "tried": "a try is under way; wait until its deadline has passed",
        "done": f"it is known to have happened{_when(effect)}{_retry_offer(effect)}",
        "intended": "it has not been tried",
        "failed": "it did not happen, and may be tried again",
    }
    return f"effect {effect.pk} is {effect.state}: {advice[effect.state]}; only an uncertain one is decided"


def _when(effect: Effect) -> str:
    return f" at {effect.done_at:%Y-%m-%d %H:%M:%S} UTC" if effect.done_at else ""


def _retry_offer(effect: Effect) -> str:
    """For a job that failed before this was known."""
    if not Job.objects.filter(pk=effect.job_id, state__in=(State.FAILED, State.CANCELLED)).exists():
        return ""
    return f", and its job passes over it: retry that by manage.py jobs retry {effect.job_id}, the admin or the API"


def _retry(actor: Actor, job_id: str | None) -> tuple[bool, str]:
    if job_id is None:
        return False, "it belongs to no job"
    if not Job.objects.filter(pk=job_id, state__in=(State.FAILED, State.CANCELLED)).exists():
        return False, "its job is not failed or cancelled"
    try:
        retry_job(actor, job_id)
    except (JobNotChanged, Job.DoesNotExist) as exc:
        return False, str(exc)
    return True, ""


def decide_each(
    actor: Actor, effect_ids: Iterable[int], happened: bool, reason: str = "", retry: bool = False
) -> tuple[list[Decided], list[str]]:
    """Decide several, each in its own transaction. Returns what was decided, and why the rest was not.

    Raises PermissionDenied before the first.
    """
    decided, skipped = [], []
    for effect_id in effect_ids:
        try:
            decided.append(decide_effect(actor, effect_id, happened, reason, retry))
        except (Effect.DoesNotExist, EffectNotChanged) as exc:
            skipped.append(str(exc))
    return decided, skipped
