from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("reviews", "0012_issue_enriched_index")]

    operations = [
        migrations.AddField(
            model_name="pullrequestreview",
            name="untold",
            field=models.TextField(
                blank=True, default="", help_text="What is yet to be told at GitHub of its failure; empty: nothing."
            ),
        ),
        migrations.AddIndex(
            model_name="pullrequestreview",
            index=models.Index("id", condition=~Q(untold=""), name="review_untold"),
        ),
    ]
