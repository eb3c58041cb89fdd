"""What the tests of the admin share."""

import html
import json
import re
from typing import Any

from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from jobs.admin.show import job_url
from jobs.models import Job

LIST = "/admin/jobs/job/"


def user_with(*permissions: str, name: str = "ann") -> User:
    """A member of staff with these permissions, written app.codename."""
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def client_with(*permissions: str, name: str = "ann") -> Client:
    client = Client()
    client.force_login(user_with(*permissions, name=name))
    return client


def job_page_url(job: Job, page: str = "change") -> str:
    return job_url(job.pk).replace("/change/", f"/{page}/")


def said(response: Any) -> str:
    """The messages that a request left behind."""
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def page_of(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model}_{page}", args=args)


def opened(client: Client, path: str) -> dict[str, Any]:
    """What a browser sends of the page's form if its user changes nothing, with what it showed."""
    found = re.search(r'name="shown" value="([^"]*)"', client.get(path).content.decode())
    assert found, path
    shown = html.unescape(found[1])
    controls = {name: "on" if value is True else value for name, value in json.loads(shown).items()}
    return {"shown": shown} | {name: value for name, value in controls.items() if value is not False}
