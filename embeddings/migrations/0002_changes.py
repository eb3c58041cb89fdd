"""What the ORM cannot say: the transaction of a change, triggers that write changes, and how vectors are stored."""

from django.db import migrations

CHANGES = """
    ALTER TABLE embeddings_change ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
    CREATE INDEX embeddings_change_of_collection ON embeddings_change (collection_id, xid);

    -- Uncompressed and in the row: float16 does not compress.
    ALTER TABLE embeddings_vector ALTER COLUMN vector SET STORAGE PLAIN;

    CREATE FUNCTION embeddings_chunks_came() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO embeddings_change (collection_id, model_id, chunk_id)
        SELECT c.collection_id, v.model_id, c.id
        FROM came AS c JOIN embeddings_vector AS v ON v.content_sha = c.content_sha;
        RETURN NULL;
    END $$;
    CREATE TRIGGER embeddings_chunks_came AFTER INSERT ON embeddings_chunk
        REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION embeddings_chunks_came();

    CREATE FUNCTION embeddings_chunks_went() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO embeddings_change (collection_id, chunk_id) SELECT w.collection_id, w.id FROM went AS w;
        RETURN NULL;
    END $$;
    CREATE TRIGGER embeddings_chunks_went AFTER DELETE ON embeddings_chunk
        REFERENCING OLD TABLE AS went FOR EACH STATEMENT EXECUTE FUNCTION embeddings_chunks_went();

    CREATE FUNCTION embeddings_vectors_came() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO embeddings_change (collection_id, model_id, chunk_id)
        SELECT c.collection_id, v.model_id, c.id
        FROM came AS v JOIN embeddings_chunk AS c ON c.content_sha = v.content_sha;
        RETURN NULL;
    END $$;
    CREATE TRIGGER embeddings_vectors_came AFTER INSERT ON embeddings_vector
        REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION embeddings_vectors_came();
"""

UNDO = """
    DROP TRIGGER embeddings_vectors_came ON embeddings_vector;
    DROP FUNCTION embeddings_vectors_came();
    DROP TRIGGER embeddings_chunks_went ON embeddings_chunk;
    DROP FUNCTION embeddings_chunks_went();
    DROP TRIGGER embeddings_chunks_came ON embeddings_chunk;
    DROP FUNCTION embeddings_chunks_came();
    DROP INDEX embeddings_change_of_collection;
    ALTER TABLE embeddings_change DROP COLUMN xid;
"""


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0001_documents_vectors_versions")]
    operations = [migrations.RunSQL(CHANGES, UNDO)]
