"""The ways to people: entered, edited, tried, switched and deleted. Of addresses and secrets, whether they are set."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of
from jobs.admin.filters import FixedFilter
from jobs.admin.row_pages import RowAdmin
from jobs.admin.service_pages import Question, line, link
from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere
from jobs.operators.search import is_storable
from jobs.operators.settings import SettingsRefused
from reminders.admin.channel_forms import ChannelForm
from reminders.admin.common import RemindersAdmin, UserFilter, page_url
from reminders.admin.reminders import ChannelKindFilter
from reminders.models import Channel, ChannelKind
from reminders.operators import access
from reminders.operators import reminders as operators
from reminders.services import channels, confirming

CHANGE = "reminders.change_channel"
_DEEDS = {
    "enable": Question("Use this channel again?", "Whatever kept it from being used is forgotten.", "Use it"),
    "disable": Question("Switch this channel off?", "Nothing goes there until it is enabled.", "Switch off"),
    "ask": Question(
        "Send the link once more?", "Whoever reads the mail of that address can confirm it, and nobody else.", "Send"
    ),
    "test": Question("Send a test message?", "It goes out now, to the channel's address.", "Send"),
    "secret": Question(
        "Have it sign with a new secret?", "The former one does not count any more, from this moment on.", "New secret"
    ),
    "delete": Question(
        "Delete this channel?", "The record of what it delivered goes with it. Switch it off to keep that.", "Delete"
    ),
}
_SAID = {
    "enable": "It is used again.",
    "disable": "It is switched off.",
    "ask": "The mail is on its way.",
    "delete": "It is deleted.",
}
_VERBS: dict[str, Any] = {
    "enable": channels.enable_channel,
    "disable": channels.disable_channel,
    "ask": channels.ask_again,
    "delete": channels.delete_channel,
}
_ABOUT = "The receiver checks by it that messages are ours, as Standard Webhooks says."


class KindFilter(ChannelKindFilter):
    title = "kind"
    column = "kind"


class UsableFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            *(("usable", "used"), ("off", "switched off"), ("waits", confirming.WAITS)),
            *(("unsubscribed", "unsubscribed"), ("aside", "set aside")),
        ]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "off":
            return queryset.filter(enabled=False)
        if value == "usable":
            return queryset.filter(Channel.USABLE)
        columns = {"unsubscribed": "unsubscribed_at", "aside": "set_aside_at", "waits": "waits_since"}
        return queryset.filter(**{f"{columns[value]}__isnull": False})


@admin.register(Channel)
class ChannelAdmin(RowAdmin, RemindersAdmin):
    noun = "channel"
    add_title = "Enter a channel"
    may_add, may_edit, may_do = "reminders.add_channel", CHANGE, CHANGE
    questions = _DEEDS
    sidebar_icon = "contact_mail"
    list_display = ("state_cell", "channel_cell", "label_cell", "why_cell", "created_cell")
    list_display_links = None
    list_filter = (UsableFilter, KindFilter, UserFilter)
    search_fields = ("user__username",)
    search_help_text = "The beginning of an account's name"
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Channel]:
        return operators.ways(actor_of(request)).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Channel], search_term: str
    ) -> tuple[QuerySet[Channel], bool]:
        text = search_term.strip()
        found = queryset.filter(user__username__startswith=text) if is_storable(text) else queryset.none()
        return found if text else queryset, False

    # --- cells ---

    @display(description="State")
    def state_cell(self, row: Channel) -> SafeString:
        if row.set_aside_at is not None:
            return show.pill("set aside", "bad")
        if row.unsubscribed_at is not None:
            return show.pill("unsubscribed", "quiet")
        if row.enabled and row.waits_since is not None:
            return show.pill(confirming.WAITS, "quiet")
        return show.pill("used", "good") if row.enabled else show.pill("off", "quiet")

    @display(description="Channel")
    def channel_cell(self, row: Channel) -> SafeString:
        return link(page_url("channel", row.pk), f"{row.kind} to {row.user.get_username()}")

    @display(description="Label")
    def label_cell(self, row: Channel) -> str:
        return line(row.label, 40) or show.DASH

    @display(description="Why")
    def why_cell(self, row: Channel) -> str:
        return line(row.set_aside_because, 90) or show.DASH

    @display(description="Entered")
    def created_cell(self, row: Channel) -> SafeString | str:
        return show.ago(row.created_at)

    # --- its page, form and deeds ---

    def find(self, actor: Actor, number: int) -> Channel:
        return channels.find_channel(actor, number)

    def shown(self, request: HttpRequest, row: Channel) -> dict[str, Any]:
        return {
            "pill": self.state_cell(row),
            "error": line(row.set_aside_because, 1000),
            "facts": _facts(row),
            "buttons": self._buttons(row) if request.user.has_perm(CHANGE) else [],
        }

    def _buttons(self, row: Channel) -> list[tuple[str, str]]:
        deeds = [("Switch off", "disable"), ("Send a test", "test")] if row.is_usable else [("Use it again", "enable")]
        if row.waits_since is not None:
            deeds = [("Switch off", "disable")] if row.is_on else deeds
            deeds.insert(0, ("Send the link once more", "ask"))
        if row.kind == ChannelKind.WEBHOOK:
            deeds.append(("New secret", "secret"))
        if row.kind != ChannelKind.MAIL or not row.user.email:
            deeds.append(("Delete", "delete"))
        edit = ("Edit", self.url_of("edit", row.pk))
        return [edit, *((label, self.url_of("deed", row.pk, deed)) for label, deed in deeds)]

    def form_of(self, request: HttpRequest, row: Channel | None, data: Any) -> ChannelForm:
        return ChannelForm(row or Channel(), data, person=request.GET.get("user", ""))

    def save(self, request: HttpRequest, row: Channel | None, form: ChannelForm) -> HttpResponse:
        actor, given = actor_of(request), form.given()
        if row is not None:
            changed = channels.change_channel(actor, row.pk, given)
            _say(request, "It is saved." if given else "Nothing was changed.", changed)
            return self.back_to(request, self.url_of("change", row.pk))
        try:
            user = access.require_self_or(actor, form.person(), "add_channel")
            made = channels.create_channel(actor, user.pk, given)
        except NotHere as exc:
            raise SettingsRefused({"person": str(exc)}) from None
        back = self.url_of("change", made.channel.pk)
        if made.channel.kind == ChannelKind.WEBHOOK:
            # Shown this once.
            return self._told(request, f"{made.channel} is entered", made.secret, back)
        _say(
            request,
            f"{made.channel} is entered{'' if made.channel.waits_since else '; send a test now'}.",
            made.channel,
        )
        return self.back_to(request, back)

    def act(self, request: HttpRequest, row: Channel, deed: str) -> HttpResponse | None:
        actor = actor_of(request)
        if deed == "secret":
            secret = self.do(request, lambda: channels.new_secret(actor, row.pk))
            back = self.url_of("change", row.pk)
            return self._told(request, f"{row} has a new secret", secret, back) if secret else None
        if deed == "test":
            self._test(request, row)
        elif deed == "delete":
            return self.gone(request, _SAID[deed]) if self.did(request, lambda: _VERBS[deed](actor, row.pk)) else None
        elif changed := self.do(request, lambda: _VERBS[deed](actor, row.pk)):
            _say_done(request, deed, changed)
        return None

    def _test(self, request: HttpRequest, row: Channel) -> None:
        tested = self.do(request, lambda: channels.send_test(actor_of(request), row.pk))
        if tested is not None:
            level = messages.SUCCESS if tested.sent else messages.ERROR
            messages.add_message(request, level, line(f"{'Sent' if tested.sent else 'Not sent'}: {tested.answer}", 300))

    def _told(self, request: HttpRequest, title: str, secret: str, back: str) -> HttpResponse:
        """A secret in the answer itself, as nothing shows it again."""
        page = self.page(request, "reminders/admin/secret.html", title=title, secret=secret, about=_ABOUT, back=back)
        page["Cache-Control"] = "no-store"
        return page


def _say(request: HttpRequest, done: str, row: Channel) -> None:
    """What was done, and whether it is used now or waits."""
    if row.waits_since is None:
        messages.success(request, done)
    else:
        messages.warning(request, line(f"{done} Its address {confirming.words(row)}.", 400))


def _say_done(request: HttpRequest, deed: str, row: Channel) -> None:
    if deed == "enable" and not row.is_usable:
        _say(request, "It is switched on.", row)
    else:
        messages.success(request, _SAID[deed])


def _facts(row: Channel) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        ("User", row.user.get_username()),
        ("Kind", row.kind),
        ("Label", line(row.label)),
        ("Address", "set" if row.address else "the account's" if row.kind == ChannelKind.MAIL else "not set"),
        ("Secret", "set" if row.secret else ""),
        ("Failures in a row", str(row.failures) if row.failures else ""),
        ("Unsubscribed", show.exact(row.unsubscribed_at) if row.unsubscribed_at else ""),
        ("Set aside", show.exact(row.set_aside_at) if row.set_aside_at else ""),
        ("Confirmation", line(confirming.words(row), 300)),
        ("Entered", show.exact(row.created_at)),
    ]
    return [(label, value) for label, value in facts if value]
