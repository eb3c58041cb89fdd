from django.apps import AppConfig


class EmbeddingsConfig(AppConfig):
    name = "embeddings"
    verbose_name = "Documents and search"

    def ready(self) -> None:
        from embeddings import registering  # noqa: F401  (the import registers)
