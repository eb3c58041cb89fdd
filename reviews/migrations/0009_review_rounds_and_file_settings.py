from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("reviews", "0008_code_receivers"),
    ]

    operations = [
        migrations.AddField(
            model_name="pullrequest",
            name="changed_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it was last changed at GitHub, as far as we know: events come out of order.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="pullrequestreview",
            name="full",
            field=models.BooleanField(
                default=False, help_text="All of the change was asked for, not only what is new."
            ),
        ),
        migrations.AddField(
            model_name="pullrequestreview",
            name="may_be_pending",
            field=models.BooleanField(default=False, help_text="It may stand at GitHub without having been submitted."),
        ),
        migrations.AddField(
            model_name="pullrequestreview",
            name="postings",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="How often it was given up at GitHub before it was submitted."
            ),
        ),
        migrations.AddField(
            model_name="repository",
            name="file_settings",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="What `.switchyard.yml` on the default branch said when it was last read.",
            ),
        ),
        migrations.AddIndex(
            model_name="pullrequestreview",
            index=models.Index(
                models.F("id"), condition=models.Q(("may_be_pending", True)), name="review_may_be_pending"
            ),
        ),
    ]
