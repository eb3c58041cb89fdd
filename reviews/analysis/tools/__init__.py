"""The analysers of single files."""

from reviews.analysis.tools.ast_grep import AstGrep
from reviews.analysis.tools.base import Tool
from reviews.analysis.tools.hadolint import Hadolint
from reviews.analysis.tools.oxlint import Oxlint
from reviews.analysis.tools.ruff import Ruff
from reviews.analysis.tools.secrets import Secrets
from reviews.analysis.tools.shellcheck import ShellCheck
from reviews.analysis.tools.zizmor import Zizmor

# Secrets first: what they find is masked in what the others say. Of two that say the same, the earlier one is told.
TOOLS: tuple[Tool, ...] = (Secrets(), Ruff(), AstGrep(), Oxlint(), ShellCheck(), Hadolint(), Zizmor())
