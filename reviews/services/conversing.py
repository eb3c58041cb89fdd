"""Questions put to us: answered by a language model where one is set, else by what is known of a finding."""

from typing import TYPE_CHECKING

from reviews.github.client import GitHubClient
from reviews.models import Finding, Reply
from reviews.policy import EMBEDDED
from reviews.services import rendering
from reviews.services.masking import masker_of
from reviews.services.repo_config import known_settings

if TYPE_CHECKING:
    from reviews.policy import ReviewSettings

#: Of a thread, the newest that fit.
MAX_THREAD_CHARS = 12_000
MAX_HUNK_CHARS = 6_000


def answer_to(client: GitHubClient, reply: Reply, question: str) -> tuple[str, str]:
    """(the answer as Markdown, what became of it in words). Raises GitHubError, Throttled."""
    from reviews.llm import accounts

    settings = known_settings(reply.pull_request.repository)
    provider = accounts.find(settings.provider)
    if provider is None or not provider.enabled:
        why = "this repository is reviewed without one" if settings.provider == EMBEDDED else "it is not set up"
        return _without_model(reply), f"answered without a language model: {why}"
    return _by_model(client, reply, question, settings)


def _by_model(client: GitHubClient, reply: Reply, question: str, settings: "ReviewSettings") -> tuple[str, str]:
    from reviews.llm import asking

    row = reply.pull_request
    told = asking.Material(
        title=row.title,
        parts=(
            asking.Part("finding", _finding_text(reply.finding)),
            asking.Part("diff", _hunk(reply.finding)),
            asking.Part("thread", _thread(client, reply)),
            asking.Part("question", question),
        ),
    )
    said = asking.answer_question(settings, told, repository_id=row.repository_id, number=row.number)
    if said.text is None:
        return _without_model(reply), f"answered without a language model: {said.why_not}"
    masker = masker_of(None, [said.text, *(part.text for part in told.parts)])
    return rendering.plain(masker.mask(said.text)), f"answered by {settings.provider} for ${said.cost_usd:.4f}"


def _thread(client: GitHubClient, reply: Reply) -> str:
    """Who said what in the thread, the newest kept; or the comment alone."""
    if reply.thread_id is None:
        return f"{reply.author}: {reply.body}"[:MAX_THREAD_CHARS]
    row = reply.pull_request
    said = [f"{one.author}: {one.body}" for one in client.thread(row.repository.full_name, row.number, reply.thread_id)]
    return "\n\n".join(said)[-MAX_THREAD_CHARS:]


def _finding_text(finding: Finding | None) -> str:
    if finding is None:
        return ""
    return f"{finding.rule} ({finding.severity}) at {finding.path}:{finding.line}: {finding.message}"


def _hunk(finding: Finding | None) -> str:
    return "" if finding is None else finding.hunk[:MAX_HUNK_CHARS]


def _without_model(reply: Reply) -> str:
    finding = reply.finding
    if finding is None:
        return "No language model is set up to answer questions here; `help` tells what I can do."
    where = rendering.code(f"{finding.path}:{finding.line}")
    mask = masker_of(None, [finding.source_line, finding.message]).mask
    return (
        f"The rule {rendering.code(finding.rule)} ({finding.severity}) was met at {where}, in the line "
        f"{rendering.code(mask(finding.source_line.strip())[:200])}: {rendering.plain(mask(finding.message))}\n\n"
        "If it is none, write `dismiss` here, and I do not tell it again on this pull request. "
        "No language model is set up to say more."
    )
