"""Mail to another address than the account's waits until that address' owner has confirmed it.

Channels from before count as confirmed.
"""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("reminders", "0012_quiet_hours_have_a_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AddField(
            "channel",
            "waits_since",
            models.DateTimeField(
                blank=True, help_text="Since when its address, not the account's own, waits to be confirmed.", null=True
            ),
        ),
        migrations.CreateModel(
            name="ConfirmationMail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address_digest", models.BinaryField(max_length=32)),
                ("created_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True, default="", help_text="Why it was not sent.")),
                (
                    "channel",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="confirmation_mails",
                        to="reminders.channel",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["address_digest", "created_at"], name="confirmation_of_address"),
                    models.Index(fields=["user", "created_at"], name="confirmation_of_user"),
                ],
            },
        ),
    ]
