"""Forms of pages as a browser has them open, and sends them."""

from html.parser import HTMLParser
from typing import Any

from django.test import Client


def opened(client: Client, path: str, has: str = "shown") -> dict[str, Any]:
    """What a browser sends of the page's form with that field if its user changes nothing; several values as a list."""
    response = client.get(path)
    assert response.status_code == 200, response
    return form_in(response.content.decode(), has)


def form_in(html: str, has: str = "shown") -> dict[str, Any]:
    reader = _Reader()
    reader.feed(html.replace("\r\n", "\n"))
    found = next(form for form in reader.forms if any(name == has for name, _ in form))
    names = {name: [value for each, value in found if each == name] for name, _ in found}
    return {name: values[0] if len(values) == 1 else values for name, values in names.items()}


class _Reader(HTMLParser):
    """forms: of each, its controls that are sent, as (name, value)."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[list[tuple[str, str]]] = []
        self._is_open = False
        self._area = self._select = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        has = dict(attrs)
        name = has.get("name") or ""
        if tag == "form":
            self.forms.append([])
            self._is_open = True
        elif tag == "input" and name and self._is_open and self._is_sent(has):
            self.forms[-1].append((name, has.get("value") or ("on" if has.get("type") == "checkbox" else "")))
        elif tag == "textarea":
            self._area = name
            self.forms[-1].append((name, ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in has:
            self.forms[-1].append((self._select, has.get("value") or ""))

    def _is_sent(self, has: dict[str, Any]) -> bool:
        kind = has.get("type")
        return kind != "submit" and (kind not in ("checkbox", "radio") or "checked" in has)

    def handle_data(self, data: str) -> None:
        if self._area:
            name, value = self.forms[-1].pop()
            self.forms[-1].append((name, value + data))

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            name, value = self.forms[-1].pop()
            # The first line break after the tag is none of the text's; those of the text are sent as CR LF.
            self.forms[-1].append((name, value.removeprefix("\n").replace("\n", "\r\n")))
            self._area = ""
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._is_open = False
