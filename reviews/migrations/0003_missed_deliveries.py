import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reviews", "0011_issue_time_of_github")]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="asked_again_at",
            field=models.DateTimeField(
                blank=True,
                help_text="GitHub was asked to send it again, and the next one of it is handled.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="MissedDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("guid", models.CharField(max_length=64)),
                ("github_id", models.BigIntegerField()),
                ("event", models.CharField(max_length=64)),
                ("action", models.CharField(blank=True, default="", max_length=64)),
                ("status_code", models.PositiveIntegerField(default=0)),
                ("delivered_at", models.DateTimeField()),
                (
                    "asked",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="How often GitHub was asked to send it again."
                    ),
                ),
                (
                    "ask_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="When it is asked for next."
                    ),
                ),
                (
                    "error",
                    models.CharField(blank=True, default="", help_text="What GitHub said to that.", max_length=300),
                ),
                (
                    "access",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="missed_deliveries",
                        to="reviews.githubaccess",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "missed deliveries",
                "default_permissions": ("view",),
                "indexes": [models.Index("ask_at", name="missed_delivery_due")],
                "constraints": [models.UniqueConstraint(fields=("access", "guid"), name="missed_delivery_once")],
            },
        ),
    ]
