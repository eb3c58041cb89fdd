from typing import Any

from django.conf import settings
from django.db import migrations, models


def tell_servers(apps: Any, editor: Any) -> None:
    repositories = apps.get_model("reviews", "Repository").objects.exclude(github_id=None)
    for url in {*apps.get_model("reviews", "GitHubAccess").objects.values_list("api_url", flat=True)}:
        repositories.filter(access__api_url=url).update(api_url=url.rstrip("/").lower())
    repositories.filter(access=None).update(api_url=settings.GITHUB["API_URL"].rstrip("/").lower())


class Migration(migrations.Migration):
    dependencies = [("reviews", "0013_failures_yet_to_be_told")]

    operations = [
        migrations.AddField(
            model_name="repository",
            name="api_url",
            field=models.CharField(
                blank=True,
                default="",
                editable=False,
                help_text="The server at which it has that id.",
                max_length=200,
            ),
        ),
        migrations.RunPython(tell_servers, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            model_name="repository",
            name="github_id",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="repository",
            constraint=models.UniqueConstraint(fields=("github_id", "api_url"), name="repository_once_at_server"),
        ),
    ]
