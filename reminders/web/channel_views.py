"""The ways to somebody: added, tried, switched; and the secret address of their calendar."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused
from reminders.models import Channel, ChannelKind
from reminders.operators import calendars
from reminders.services import channels, confirming, reach
from reminders.services.channels import ChannelRefused
from reminders.web.frame import actor_of, page, zone_name
from reminders.web.preference_forms import ChannelForm
from reminders.web.preference_views import preferences_page
from reminders.web.ways import way_name

#: What each button says when it is done.
_DONE = {
    "on": "{} is used again.",
    "off": "{} is switched off: nothing goes there until you switch it on.",
    "own": "{} goes to your account’s address.",
    "ask": "{}: the mail is sent once more. Follow its link.",
    "delete": "{} was deleted.",
}


@page
@require_POST
def add(request: HttpRequest) -> HttpResponse:
    form = ChannelForm(request.POST, prefix="channel")
    if form.is_valid():
        try:
            created = channels.create_channel_once(actor_of(request), form.given())
        except SettingsRefused as exc:
            form.refused(exc)
        else:
            if created.secret:
                return _secret(request, "The webhook’s secret", "Its messages are signed with it.", created.secret)
            _tell_added(request, created)
            return _to("channels")
    return preferences_page(request, channel_form=form)


def _tell_added(request: HttpRequest, created: channels.Created) -> None:
    added = f"{way_name(created.channel)} was added."
    if created.channel.waits_since is None:
        messages.success(request, f"{added} Send a test message by it.")
    else:
        messages.warning(request, f"{added} {_waits(created.channel)}")


def _waits(channel: Channel) -> str:
    """In a sentence, for whoever must do something about it."""
    return f"Reminders go there once its address is confirmed. It {confirming.words(channel)}."


@page
@require_POST
def do(request: HttpRequest, channel_id: int, deed: str) -> HttpResponse:
    """on, off, ask, own, test, delete, secret or lift; 0: of mail that nothing was set of yet."""
    actor = actor_of(request)
    try:
        channel = _mail(actor) if channel_id == 0 else channels.find_channel(actor, channel_id)
        if deed == "secret":
            secret = channels.new_secret(actor, channel.pk)
            return _secret(request, "The webhook’s new secret", "The former one does not count any more.", secret)
        _do(request, actor, channel, deed)
    except (ChannelRefused, SettingsRefused) as exc:
        messages.error(request, str(exc))
    return _to("channels")


def _do(request: HttpRequest, actor: Actor, channel: Channel, deed: str) -> None:
    if deed == "test":
        tested = channels.send_test(actor, channel.pk)
        told = f"{way_name(channel)}: {tested.answer}"
        (messages.success if tested.sent else messages.error)(request, told)
        return
    if deed == "lift":
        _lift(request, actor, channel)
        return
    deeds: dict[str, Any] = {
        "on": channels.enable_channel,
        "off": channels.disable_channel,
        "ask": channels.ask_again,
        "own": lambda actor, number: channels.change_channel(actor, number, {"address": ""}),
        "delete": channels.delete_channel,
    }
    if deed not in deeds:
        raise Http404
    changed = deeds[deed](actor, channel.pk)
    if deed == "on" and not changed.is_usable:
        messages.warning(request, f"{way_name(changed)} is switched on. {_waits(changed)}")
    else:
        messages.success(request, _DONE[deed].format(way_name(channel)))


def _lift(request: HttpRequest, actor: Actor, channel: Channel) -> None:
    if channel.waits_since is not None:
        raise ChannelRefused(f"{way_name(channel)} {confirming.words(channel)}")
    suppression = reach.suppression_of(channel, channel.user)
    if suppression is not None:
        channels.lift_suppression(actor, suppression.pk)
    messages.success(request, "Your address is mailed again.")


def _mail(actor: Actor) -> Channel:
    """The channel by mail, made where there is none."""
    kept = Channel.objects.filter(user=actor.user, kind=ChannelKind.MAIL).select_related("user").first()
    return kept or channels.create_channel(actor, actor.user.pk, {"kind": ChannelKind.MAIL.value}).channel


@page
@require_POST
def renew_feed(request: HttpRequest) -> HttpResponse:
    _, address = calendars.renew_feed(actor_of(request), request.user)
    about = "Enter it in your calendar program. Whoever has it reads your tasks; a former address has ended."
    # Without PUBLIC_URL it is a path alone.
    return _secret(request, "The address of your calendar", about, request.build_absolute_uri(address))


@page
@require_POST
def revoke_feed(request: HttpRequest) -> HttpResponse:
    calendars.revoke_feed(actor_of(request), request.user)
    messages.success(request, "The address of your calendar has ended.")
    return _to("feed")


def _secret(request: HttpRequest, title: str, about: str, secret: str) -> HttpResponse:
    """Shown this once: in the answer itself, as nothing keeps it."""
    context = {"title": title, "about": about, "secret": secret, "here": "preferences", "clock": zone_name()}
    return render(request, "reminders/pages/secret.html", context)


def _to(section: str) -> HttpResponse:
    return redirect(f"{reverse('pages:preferences')}#{section}")
