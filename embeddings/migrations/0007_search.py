"""What searches need: news of changes, and the admin's page."""

from django.db import migrations

NOTIFY = """
    -- Postgres sends one notification a collection and transaction, however many statements there were.
    CREATE FUNCTION embeddings_tell_readers() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('embeddings_changes', c.collection_id::text)
        FROM (SELECT DISTINCT collection_id FROM came) AS c;
        RETURN NULL;
    END $$;
    CREATE TRIGGER embeddings_tell_readers AFTER INSERT ON embeddings_change
        REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION embeddings_tell_readers();
"""

UNDO = """
    DROP TRIGGER embeddings_tell_readers ON embeddings_change;
    DROP FUNCTION embeddings_tell_readers();
"""


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0003_first_collection")]
    operations = [
        migrations.CreateModel(
            name="Search",
            fields=[],
            options={
                "verbose_name": "search",
                "verbose_name_plural": "search",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("embeddings.collection",),
        ),
        migrations.RunSQL(NOTIFY, UNDO),
    ]
