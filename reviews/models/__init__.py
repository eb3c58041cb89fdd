"""What is known of GitHub's repositories, what GitHub delivered, and what came of it."""

from reviews.models.access import AccessKind, GitHubAccess, Installation, OutsideLimit
from reviews.models.code import CodeFile, CodeIndex, IndexState, Reference, Symbol
from reviews.models.issue import EnrichmentState, GoneIssue, Issue, IssueClassifier, IssueTag, TagSource
from reviews.models.llm import LlmCall, LlmKind, LlmProvider
from reviews.models.reply import CommentKind, Reply, ReplyStatus
from reviews.models.repository import Delivery, MissedDelivery, Repository, Severity
from reviews.models.review import (
    FINISHED,
    Finding,
    FindingState,
    PullRequest,
    PullRequestReview,
    ReviewStatus,
    Told,
    Trigger,
)

__all__ = [
    "FINISHED",
    "AccessKind",
    "CodeFile",
    "CodeIndex",
    "CommentKind",
    "Delivery",
    "EnrichmentState",
    "Finding",
    "FindingState",
    "GitHubAccess",
    "GoneIssue",
    "IndexState",
    "Installation",
    "Issue",
    "IssueClassifier",
    "IssueTag",
    "LlmCall",
    "LlmKind",
    "LlmProvider",
    "MissedDelivery",
    "OutsideLimit",
    "PullRequest",
    "PullRequestReview",
    "Reference",
    "Reply",
    "ReplyStatus",
    "Repository",
    "ReviewStatus",
    "Severity",
    "Symbol",
    "TagSource",
    "Told",
    "Trigger",
]
