"""What the doctor asks of the analysers: whether they are there, and how far they are confined."""

from jobs.operators.health import Finding
from reviews.analysis import sandbox
from reviews.analysis.tools import TOOLS
from reviews.analysis.tools.base import ToolFailed, version_of


def examine() -> list[Finding]:
    """Never raises."""
    return [_confinement(), *_tools()]


def _confinement() -> Finding:
    refused = sandbox.refusal()
    if not refused:
        return Finding("analysers", "ok", "they run without network, within limits")
    remedy = "allow user namespaces (sysctl user.max_user_namespaces), or run workers where no network is reached"
    return Finding("analysers", "warning", f"they run without some of their limits: {refused}", remedy)


def _tools() -> list[Finding]:
    found, missing = [], []
    for name, version in (*((tool.name, tool.version) for tool in TOOLS), ("ty", lambda: version_of("ty"))):
        try:
            found.append(version())
        except ToolFailed as exc:
            missing.append(f"{name}: {exc}")
    if missing:
        return [Finding("analysers", "wrong", "; ".join(missing), "install requirements.txt")]
    return [Finding("analysers", "ok", ", ".join(found))]
