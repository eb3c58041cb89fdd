"""What pages of rows that services alone change share: questions before deeds, refusals in words."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin
from jobs.operators.lookups import NotHere
from jobs.operators.settings import SettingsRefused

_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """Asked before a deed. takes_force: it may kill what runs."""

    title: str
    explanation: str
    label: str
    takes_force: bool = False


class ServiceAdmin(ReadOnlyAdmin):
    """refusals: what services say no with; each tells why, and what to do."""

    noun = "row"
    refusals: tuple[type[Exception], ...] = (NotHere, ObjectDoesNotExist, SettingsRefused)

    def found(self, find: Callable[[int], T], given: str | int) -> T | None:
        """The row of a number as it came in an address; None if there is none."""
        text = str(given)
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            return None
        try:
            return find(int(text))
        except (NotHere, ObjectDoesNotExist):
            return None

    def missing(self, request: HttpRequest, given: str | int) -> HttpResponse:
        return self.to_list(request, f"There is no {self.noun} {str(given)[:40]!r}; it may have been deleted.")

    def ask(self, request: HttpRequest, question: Question, what: Any, back: str) -> HttpResponse:
        return self.page(
            request, "jobs/confirm_deed.html", title=question.title, question=question, what=what, back=back
        )

    def do(self, request: HttpRequest, deed: Callable[[], T]) -> T | None:
        """What it returns; None, and a message that says why, where it is refused."""
        try:
            return deed()
        except self.refusals as exc:
            messages.error(request, sentence(str(exc)))
            return None

    def did(self, request: HttpRequest, deed: Callable[[], object]) -> bool:
        """As `do`, of what returns nothing."""
        return self.do(request, lambda: (deed(),)) is not None

    def form_page(self, request: HttpRequest, title: str, form: Any, back: str, **more: Any) -> HttpResponse:
        groups = form.shown_groups()
        return self.page(request, "jobs/settings_form.html", title=title, form=form, groups=groups, back=back, **more)

    def gone(self, request: HttpRequest, said: str) -> HttpResponse:
        """To the list, after a row was deleted."""
        messages.success(request, said)
        return self.back_to(request, self.url_of("changelist"))

    def back_to(self, request: HttpRequest, url: str) -> HttpResponse:
        """Who may act on a row need not be allowed to see it."""
        return HttpResponseRedirect(url if self.has_view_permission(request) else reverse("admin:index"))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))


def sentence(text: str) -> str:
    """A refusal as it stands on a page."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?", "…")) else ".")


def spelled(text: str) -> str:
    """Text with what would not be seen, or would turn the rest around, spelled out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(char):04X}⟩" if char not in "\t\n" and unicodedata.category(char) in _UNSEEN else char
        for char in text
    )


def line(text: str, longest: int = show.LONGEST_CELL) -> str:
    """Text from outside on one line."""
    return spelled(show.one_line(text, longest))


def link(url: str, text: Any) -> SafeString:
    return format_html('<a class="sy-link" href="{}">{}</a>', url, text)


def counted(number: int, noun: str, plural: str = "") -> str:
    """ "1 file", "2 files"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
