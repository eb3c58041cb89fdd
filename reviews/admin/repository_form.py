"""How a repository is reviewed, as a form."""

from typing import Any

from jobs.admin.settings_form import Group, SettingsForm
from reviews.llm import accounts
from reviews.models import GitHubAccess, Repository
from reviews.operators.repositories import provider_names
from reviews.policy import OFFLINE

MOST_CHOICES = 200
_NAME = Group(
    "Repository", "", {"full_name": ("Name", "owner/name, as at GitHub. One that sends webhooks enters itself.")}
)
GROUPS = (
    Group(
        "Who reviews",
        "What is set here are defaults: .switchyard.yml on the base branch overrides them, within these bounds.",
        {
            "enabled": ("Reviews are on", "Whether its pull requests are reviewed."),
            "access": ("GitHub access", ""),
            "provider": ("Reviewer", "The embedded reviewer needs nothing outside; a language model comes on top."),
            "providers_allowed": (
                "Other reviewers allowed",
                "One a line: what .switchyard.yml may choose beside that one; empty: nothing else.",
            ),
        },
    ),
    Group(
        "What is posted",
        "",
        {
            "severity_floor": ("Least severity", "Less severe findings are kept here, and not posted."),
            "finding_budget": ("Findings on a change, at most", "1 to 50; the most severe come first."),
        },
    ),
    Group(
        "What is left out",
        "Whoever asks for a review by a comment, a button or here gets one all the same.",
        {
            "review_drafts": ("Review drafts", "Else a draft is reviewed when it is ready."),
            "review_bots": ("Review what bots open", "Such as dependency updates."),
            "excluded_labels": ("Labels", "One a line: a pull request with one of them is not reviewed."),
            "excluded_titles": ("Titles", "One a line, such as [wip]: nor one whose title contains it, in any case."),
            "excluded_authors": ("Authors", "One a line: nor one by one of these accounts."),
            "excluded_paths": (
                "Paths",
                "One a line, as in .gitignore, such as vendor/ or *.min.js: files that are not read.",
            ),
        },
    ),
    Group(
        "Large changes",
        "They are reviewed on the slow lane, so that the small ones do not wait for them.",
        {
            "large_files": ("More files than", "A change of more files than this is large."),
            "large_lines": ("More lines than", "The same for added and deleted lines together."),
        },
    ),
    Group(
        "For the language model",
        "Only where a language model reviews.",
        {
            "instructions": ("Instructions", "For every file: what to look at, what to leave alone."),
            "path_instructions": (
                "Instructions by path",
                'JSON, such as [{"path": "api/**", "instructions": "Every view checks a permission."}]',
            ),
            "language": ("Language", "In which it writes."),
            "change_cap_usd": ("Cost of a change, at most", "In dollars; empty: the provider's cap."),
            "daily_cap_usd": ("Cost of a day, at most", "In dollars; empty: the provider's cap."),
        },
    ),
    Group(
        "Code index",
        "",
        {"index_enabled": ("Index its code", "As context: callers, definitions, and code like what is changed.")},
    ),
    Group(
        "Issues",
        "",
        {
            "issues_enabled": ("Enrich its issues", "A summary, labels, and similar issues."),
            "issue_provider": ("By", "Offline: rules and a classifier of its own, nothing outside."),
            "issue_labels": ("Labels", "One a line: what its issues may get; empty: what GitHub has for it."),
            "apply_labels": ("Labels at GitHub, too", "Else they are shown here alone."),
        },
    ),
)


class RepositoryForm(SettingsForm):
    def __init__(self, row: Repository, data: Any) -> None:
        names = provider_names()
        models = accounts.names()[:MOST_CHOICES]
        known = GitHubAccess.objects.order_by("name").values_list("name", flat=True)[:MOST_CHOICES]
        groups = (_NAME, *GROUPS) if row._state.adding else GROUPS
        choices = {
            "provider": [(name, name) for name in names],
            "issue_provider": [(name, name) for name in (OFFLINE, *models)],
            "access": [("", "the environment's token"), *((name, name) for name in known)],
        }
        super().__init__(row, groups, choices, data)
