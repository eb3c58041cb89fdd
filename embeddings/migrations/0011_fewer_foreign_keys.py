"""One look a statement instead of one a row at what vectors and changes belong to: they come by the thousand.

That a vector's model is there, and stays while it has vectors, is held by triggers. A `Change` that is written while
its collection or model is deleted may stay; nobody reads it, and the daily clean-up removes it.
"""

import django.db.models.deletion
from django.db import migrations, models

GUARD = """
    CREATE OR REPLACE FUNCTION embeddings_vectors_came() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        -- Locked as a foreign key does it: whoever deletes the model waits for this transaction, or this one for that.
        PERFORM FROM embeddings_embeddingmodel
            WHERE id IN (SELECT DISTINCT model_id FROM came) ORDER BY id FOR KEY SHARE;
        IF EXISTS (SELECT model_id FROM came EXCEPT SELECT id FROM embeddings_embeddingmodel) THEN
            RAISE foreign_key_violation USING MESSAGE = 'the model of these vectors is gone';
        END IF;
        INSERT INTO embeddings_change (collection_id, model_id, chunk_id)
        SELECT c.collection_id, v.model_id, c.id
        FROM came AS v JOIN embeddings_chunk AS c ON c.content_sha = v.content_sha;
        RETURN NULL;
    END $$;

    CREATE FUNCTION embeddings_model_went() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM embeddings_vector WHERE model_id = OLD.id) THEN
            RAISE foreign_key_violation USING MESSAGE = format('model %s has vectors still', OLD.id);
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER embeddings_model_went AFTER DELETE OR UPDATE OF id ON embeddings_embeddingmodel
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION embeddings_model_went();
"""

UNDO = """
    DROP TRIGGER embeddings_model_went ON embeddings_embeddingmodel;
    DROP FUNCTION embeddings_model_went();
    CREATE OR REPLACE FUNCTION embeddings_vectors_came() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO embeddings_change (collection_id, model_id, chunk_id)
        SELECT c.collection_id, v.model_id, c.id
        FROM came AS v JOIN embeddings_chunk AS c ON c.content_sha = v.content_sha;
        RETURN NULL;
    END $$;
"""


def _key(to, **options):
    on_delete = django.db.models.deletion.CASCADE
    return models.ForeignKey(to=to, on_delete=on_delete, related_name="+", db_constraint=False, **options)


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0010_change_of_chunk")]
    operations = [
        migrations.RunSQL(GUARD, UNDO),
        migrations.AlterField("vector", "model", _key("embeddings.embeddingmodel", db_index=False)),
        migrations.AlterField("change", "collection", _key("embeddings.collection", db_index=False)),
        migrations.AlterField(
            "change",
            "model",
            _key("embeddings.embeddingmodel", null=True, help_text="None: the chunk has gone."),
        ),
    ]
