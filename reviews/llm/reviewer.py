"""A language model as a reviewer: plan, ask, check."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from reviews.changes import Change
from reviews.llm import budget, checking, costs, prompts
from reviews.llm.calls import Caller
from reviews.llm.checking import Checked, Checker
from reviews.llm.errors import LlmFailed
from reviews.llm.pieces import Piece
from reviews.llm.schema import ReviewAnswer
from reviews.models import LlmProvider, PullRequestReview
from reviews.providers.base import Brief, Report, ReviewResult, report_nothing

REVIEW_SECONDS = 110.0
# On the slow lane, whose jobs may take longer.
LARGE_REVIEW_SECONDS = 450.0
# Of a request's tokens, left for words between the parts and for a wrong estimate.
MARGIN = 0.05


@dataclass
class LlmReviewer:
    """is_last: whether an error ends the review, so that what was answered until then is better than nothing."""

    provider: LlmProvider
    is_last: bool = True
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.provider.name

    def review(self, change: Change, report: Report = report_nothing, brief: Brief | None = None) -> ReviewResult:
        """What the model found, with what it was not sent. Raises LlmFailed when it answered nothing, and Throttled."""
        result, checked = self.checked(change, report, brief or Brief())
        return ReviewResult(**{**vars(result), "findings": checking.merged((), checked)})

    def checked(self, change: Change, report: Report, brief: Brief) -> tuple[ReviewResult, Checked]:
        """The same, with the findings apart: they may say what others found."""
        report(0.0, f"choosing what {self.name} reads")
        tokens = budget.estimator(costs.tokens_correction(self.provider, brief.review_id))
        common = prompts.common_of(change, brief, self.provider.context_tokens, tokens)
        room = int(self.provider.context_tokens * (1 - MARGIN)) - tokens(prompts.REVIEW_SYSTEM) - tokens(common.text)
        limits = budget.Limits(room, self.provider.max_requests)
        hidden = checking.withheld_lines(brief.evidence)
        plan = budget.plan(change, limits, tokens, brief.settings.excluded_paths, hidden)
        asked = [request.pieces for request in plan.requests]
        report(0.1, f"{self.name} reads {len(asked)} parts")
        caller = self._caller(brief, common.nonce)
        shown = [prompts.review_prompt(common, pieces, at + 1, len(asked)) for at, pieces in enumerate(asked)]
        answers = caller.ask("review", shown) if shown else []
        failures = [answer for answer in answers if isinstance(answer, LlmFailed)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        return self._result(change, plan, asked, answers, caller)

    def _caller(self, brief: Brief, nonce: str) -> Caller[ReviewAnswer]:
        scope = costs.Scope(
            repository_id=brief.repository_id,
            number=brief.number,
            review_id=brief.review_id,
            change_cap_usd=brief.settings.change_cap_usd,
            daily_cap_usd=brief.settings.daily_cap_usd,
        )
        rows = PullRequestReview.objects.filter(pk=brief.review_id, lane="slow_lane") if brief.review_id else None
        seconds = LARGE_REVIEW_SECONDS if rows is not None and rows.exists() else REVIEW_SECONDS
        return Caller(self.provider, scope, ReviewAnswer, nonce, seconds, self.is_last)

    def _result(
        self,
        change: Change,
        plan: budget.Plan,
        asked: Sequence[Sequence[Piece]],
        answers: Sequence[ReviewAnswer | LlmFailed],
        caller: Caller[ReviewAnswer],
    ) -> tuple[ReviewResult, Checked]:
        checker = Checker(change.files, self.name, self.provider.min_confidence)
        checked, summaries = Checked(), []
        failed: list[tuple[Piece, str]] = []
        for pieces, answer in zip(asked, answers, strict=True):
            if isinstance(answer, LlmFailed):
                failed += [(piece, str(answer)) for piece in pieces]
            else:
                checker.check(answer.findings, checked)
                summaries.append(checking.one_text(answer.summary))
        limit = f"beyond {self.provider.max_requests} requests of {self.provider.context_tokens:,} tokens"
        result = ReviewResult(
            provider=self.name,
            findings=(),
            left_out=0,
            coverage=budget.coverage(change, plan, failed, limit),
            notes=(*change.notes, *checked.notes),
            cost_usd=_dollars(caller),
            requests=caller.spent.requests,
            summary=" ".join(summaries)[: checking.MAX_SUMMARY_CHARACTERS],
        )
        return result, checked


def _dollars(caller: Caller[ReviewAnswer]) -> Decimal:
    """Of all attempts at the review, those before this one included."""
    return caller.spent.dollars if caller.scope.review_id is None else costs.spent_on(caller.scope)
