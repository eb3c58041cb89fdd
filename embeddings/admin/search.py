"""The page on which a search is tried, with its scores explained."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from embeddings.models import Search
from embeddings.services import asking, collections
from jobs import strict_json
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin

MODES = {
    "hybrid": "hybrid: by vector and by words",
    "vector": "vector: the nearest by meaning",
    "text": "text: words alone",
    "fast": "fast: the fast tier's nearest, ordered by the model",
}
TIERS = {"main": ("by vector", "running"), "fast": ("by the fast tier", "scheduled"), "text": ("by words", "quiet")}
BOTH = ("by vector and words", "good")
FIELDS = {"q": "q", "k": "k", "mode": "mode", "filter": "filter"}


class FilterText(forms.CharField):
    """A filter as JSON."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return strict_json.loads(text, mend=False)
        except strict_json.NotJson as exc:
            raise forms.ValidationError(f'This is not JSON: {exc}. A filter looks like {{"language": "de"}}.') from None


class SearchForm(forms.Form):
    q = forms.CharField(
        label="Search for",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "search", "maxlength": asking.MAX_QUERY}),
        help_text='Quotes keep words together, a minus leaves one out: "night train" -Lisbon.',
    )
    collection = forms.ChoiceField(label="Collection", required=False, widget=UnfoldAdminSelectWidget)
    mode = forms.ChoiceField(label="Mode", required=False, choices=list(MODES.items()), widget=UnfoldAdminSelectWidget)
    k = forms.IntegerField(
        label="How many",
        required=False,
        min_value=1,
        max_value=asking.MAX_K,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 1, "max": asking.MAX_K}),
    )
    filter = FilterText(
        label="Filter",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "class": "sy-json"}),
        help_text='On metadata, as JSON: {"language": "de", "year": {"gte": 2020}, "tag": {"in": ["a", "b"]}}.',
    )

    def __init__(self, names: list[str], data: Any) -> None:
        first = asking.FIRST if asking.FIRST in names or not names else names[0]
        defaults = {"collection": first, "mode": "hybrid", "k": asking.DEFAULT_K}
        if data is not None:
            # What was left out, or emptied, is shown as what is then used.
            data = {**data.dict(), **{name: value for name, value in defaults.items() if not data.get(name)}}
        super().__init__(data, initial=defaults)
        self.defaults = defaults
        chosen: Any = self.fields["collection"]
        chosen.choices = [(name, name) for name in names]

    def asked(self) -> dict[str, Any]:
        """What was typed, with the defaults for what was left empty."""
        given = {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
        return {"q": "", "filter": None, **self.defaults, **given}


@admin.register(Search)
class SearchAdmin(ReadOnlyAdmin):
    """Not of rows: its list is the search page."""

    sidebar_icon = "search"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(asking.PERMISSION)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        names = list(collections.visible_to(request.user).order_by("name").values_list("name", flat=True))
        form = SearchForm(names, request.GET if "q" in request.GET else None)
        found, error = None, ""
        if form.is_bound and form.is_valid():
            found, error = _search(request, form)
        return self.page(
            request,
            "embeddings/search.html",
            title="Search",
            form=form,
            error=error,
            found=found,
            hits=[_row(request, hit) for hit in found.hits] if found else [],
            facts=_facts(found) if found else [],
            api_path=_api_path(form) if found else "",
        )

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Rows are collections, which are not for everybody."""
        self.require_view(request)
        return self.to_list(request)


def _search(request: HttpRequest, form: SearchForm) -> tuple[Any, str]:
    """The answer, or, with the form's errors, why there is none."""
    from embeddings.services.searching import search
    from embeddings.serving import listener

    asked = form.asked()
    try:
        found = search(request.user, asked["q"], asked["k"], asked["collection"], asked["filter"], asked["mode"])
    except asking.SearchRefused as exc:
        form.add_error(FIELDS.get(exc.name), exc.reason)
        return None, ""
    except (collections.UnknownCollection, asking.SearchUnavailable, PermissionDenied) as exc:
        return None, str(exc.args[0])
    listener.start()
    return found, ""


def _row(request: HttpRequest, hit: Any) -> dict[str, Any]:
    words, kind = BOTH if {"vector", "text"} <= hit.explain.keys() and hit.tier == "main" else TIERS[hit.tier]
    url = ""
    if request.user.has_perm("embeddings.view_document"):
        url = reverse("admin:embeddings_document_change", args=[hit.document_id])
    return {
        "hit": hit,
        "url": url,
        "pill": show.pill(words, kind),
        "snippet": hit.snippet.html(),
        "metadata": show.one_line(json.dumps(hit.metadata, ensure_ascii=False), 200) if hit.metadata else "",
        "explained": _explained(hit.explain),
    }


def _explained(explain: dict[str, Any]) -> str:
    """Such as: 2nd by vector (0.712), which adds 0.0161; 1st by words (0.100), which adds 0.0164; together 0.0325."""
    places = [
        (explain[name], word) for name, word in (("vector", "by vector"), ("text", "by words")) if name in explain
    ]
    parts = [
        f"{_ordinal(place['rank'])} {word} ({place['score']:.3f}), which adds {place['share']:.4f}"
        for place, word in places
    ]
    return "; ".join([*parts, f"together {explain['fused']:.4f}"])


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _facts(found: Any) -> list[tuple[str, Any]]:
    index, beside, timing = found.index, found.beside, found.timing
    facts: list[tuple[str, Any]] = []
    if index is not None and index["version"] is not None:
        built = parse_datetime(index["built_at"]) if index["built_at"] else None
        facts.append(("Index", f"version {index['version']}, {index['kind']}, {index['count']:,} chunks"))
        facts.append(("Built", show.ago(built)))
    else:
        facts.append(("Index", "none yet: vectors are compared one by one"))
    if index is not None:
        facts.append(("Model", index["model"]))
    facts.append(
        (
            "Beside it",
            f"{beside['delta']:,} new, {beside['tombstones']:,} deleted, {beside['pending']:,} wait for the model",
        )
    )
    parts = ", ".join(f"{name} {timing[name]:.1f}" for name in ("snapshot", "encode", "vector", "text", "join"))
    facts.append(("Time", format_html('{} ms <span class="sy-note">({})</span>', f"{timing['total']:.1f}", parts)))
    return facts


def _api_path(form: SearchForm) -> str:
    asked = form.asked()
    if asked["filter"] is None:
        del asked["filter"]
    else:
        asked["filter"] = json.dumps(asked["filter"], ensure_ascii=False)
    return f"{reverse('search')}?{urlencode(asked)}"
