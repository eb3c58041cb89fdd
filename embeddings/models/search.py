"""The admin's place for its search page."""

from embeddings.models.collection import Collection


class Search(Collection):
    """Collections as what is searched. Without a table of its own: it gives the search page its entry in the admin."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "search"
        verbose_name_plural = "search"
