"""Takes out of a text what names a person or opens a door, before anybody else is shown it."""

import ipaddress
import re
from collections.abc import Callable

_PEM = re.compile(r"-----BEGIN [A-Z ]{3,40}-----.*?(?:-----END [A-Z ]{3,40}-----|\Z)", re.DOTALL)
_TOKENS = re.compile(
    r"""
      gh[pousr]_[A-Za-z0-9_]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
    | sk-[A-Za-z0-9_-]{16,} | xox[abposr]-[A-Za-z0-9-]{10,} | npm_[A-Za-z0-9]{20,} | pypi-[A-Za-z0-9_-]{16,}
    | (?:AKIA|ASIA)[A-Z0-9]{16} | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{20,} | hf_[A-Za-z0-9]{20,}
    | eyJ[A-Za-z0-9_-]{8,1000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]*
    """,
    re.VERBOSE,
)
_ASSIGNED = re.compile(
    r"""(?P<name>\b[\w-]{0,40}(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)\b)
        (?P<between>["']?\s{0,4}[:=]\s{0,4}["']?)(?P<value>[^\s"',;]{6,400})""",
    re.VERBOSE | re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/._~=-]{12,}", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/:@]{1,100}:[^\s/@]{1,200}@", re.IGNORECASE)
_MAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])")
_HOME = re.compile(
    r"""(?P<before>/(?:home|Users)/|[A-Za-z]:\\{1,2}(?:Users|Documents\ and\ Settings)\\{1,2}|/mnt/[a-z]/Users/)
        (?P<name>[^\s/\\:"'<>|]{1,64})""",
    re.VERBOSE,
)


def redact(text: str) -> str:
    """The text with [mail], [address], [token], [key], [secret] and [user] in place of what is of that kind."""
    text = _PEM.sub("[key]", text)
    text = _CREDENTIALS.sub(r"\1[secret]@", text)
    text = _TOKENS.sub("[token]", text)
    text = _BEARER.sub(r"\1 [token]", text)
    text = _ASSIGNED.sub(r"\g<name>\g<between>[secret]", text)
    text = _MAIL.sub("[mail]", text)
    text = _HOME.sub(r"\g<before>[user]", text)
    return _IPV6.sub(_address(), _IPV4.sub(_address(), text))


def _address() -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(found[0])
        except ValueError:
            return found[0]  # a version number, or a time
        return found[0] if address.is_loopback or address.is_unspecified else "[address]"

    return replaced
