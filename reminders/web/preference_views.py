"""How somebody wants to be reminded, and a preview of what comes to them next."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.timezone import localtime
from django.views.decorators.http import require_http_methods, require_POST

from jobs.operators.settings import SettingsRefused
from reminders import moment
from reminders.operators import calendars, people, rules
from reminders.services import reach
from reminders.web.frame import actor_of, page, zone_name
from reminders.web.preference_forms import ChannelForm, DefaultRuleForm, PauseForm, PreferencesForm
from reminders.web.ways import way_name, ways_of

PREVIEWED = 10
#: Of the buttons of a pause.
PAUSES = {"tomorrow": "P1D", "week": "P1W"}


@page
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    if request.method != "POST":
        return preferences_page(request)
    form = PreferencesForm(request.POST, kept=people.preferences(actor))
    if form.is_valid():
        try:
            people.change_preferences(actor, form.changed())
        except SettingsRefused as exc:
            form.refused(exc)
        else:
            messages.success(request, "Saved. What is planned for you follows within moments.")
            return redirect("pages:preferences")
    return preferences_page(request, form=form)


def preferences_page(request: HttpRequest, **forms: Any) -> HttpResponse:
    """All sections; forms: those that were filled in, and are shown as they were."""
    actor = actor_of(request)
    kept = people.preferences(actor)
    now = moment.now()
    way = reach.of(request.user)
    context = {
        "here": "preferences",
        "clock": zone_name(),
        "now": localtime(now),
        "kept": kept,
        "paused": kept.paused_until is not None and kept.paused_until > now,
        "form": PreferencesForm(kept=kept),
        "pause": PauseForm(prefix="pause"),
        "rule_form": DefaultRuleForm(prefix="rule"),
        "channel_form": ChannelForm(prefix="channel"),
        "rules": list(rules.default_rules(actor)),
        "upcoming": people.upcoming(actor, limit=PREVIEWED),
        "channels": ways_of(request.user),
        "nobody": way.nobody,
        "ways": [way_name(channel) for channel in way.channels],
        "feed": calendars.find_feed(actor, request.user),
        **forms,
    }
    status = 422 if any(getattr(form, "errors", None) for form in forms.values()) else 200
    return render(request, "reminders/pages/preferences.html", context, status=status)


@page
@require_POST
def pause(request: HttpRequest) -> HttpResponse:
    """By a button, until the day of the form, or no longer."""
    actor = actor_of(request)
    form = PauseForm(request.POST, prefix="pause")
    chosen = request.POST.get("for", "")
    until = PAUSES.get(chosen)
    if chosen == "resume":
        people.change_preferences(actor, {"paused_until": None})
        messages.success(request, "Reminders are sent again; what was held comes with the next scan.")
        return _to("pause")
    if until is None:
        if not form.is_valid():
            return preferences_page(request, pause=form)
        until = form.until()
    try:
        people.change_preferences(actor, {"paused_until": until})
    except SettingsRefused as exc:
        form.is_valid()
        form.refused(exc)
        return preferences_page(request, pause=form)
    messages.success(request, "Paused: nothing is sent until then.")
    return _to("pause")


@page
@require_POST
def add_rule(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    form = DefaultRuleForm(request.POST, prefix="rule")
    if form.is_valid():
        try:
            rules.add_default_rule(actor, form.given())
        except SettingsRefused as exc:
            form.refused(exc)
        else:
            messages.success(request, "The rule was added.")
            return _to("rules")
    return preferences_page(request, rule_form=form)


@page
@require_POST
def delete_rule(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Of one's own; one that is gone already is as well."""
    actor = actor_of(request)
    if rules.default_rules(actor).filter(pk=rule_id).exists():
        rules.delete_rule(actor, rule_id)
    messages.success(request, "The rule was taken away.")
    return _to("rules")


def _to(section: str) -> HttpResponse:
    return redirect(f"{reverse('pages:preferences')}#{section}")
