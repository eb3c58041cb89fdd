from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reviews", "0006_llm_answers_and_checks")]

    operations = [
        migrations.AddField(
            model_name="issue",
            name="github_updated_at",
            field=models.DateTimeField(
                blank=True, help_text="Of the newest event, by GitHub's clock; older ones change nothing.", null=True
            ),
        ),
    ]
