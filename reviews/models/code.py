"""The index of a repository's code: its files by blob, the symbols in them, and who uses what."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from reviews.models.repository import Repository


class IndexState(models.TextChoices):
    """none → queued → running → ready | failed; ready → queued by a push."""

    NONE = "none"
    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


class CodeIndex(models.Model):
    """What is indexed of a repository's default branch. sha: the commit; wanted_sha: the newest that was pushed.

    indexer: which version of our code read the files; another one reads all of them again.
    """

    repository = models.OneToOneField(Repository, on_delete=models.CASCADE, related_name="code_index")
    state = models.CharField(max_length=7, choices=IndexState, default=IndexState.NONE)
    sha = models.CharField(max_length=64, blank=True, default="")
    wanted_sha = models.CharField(max_length=64, blank=True, default="")
    files = models.PositiveIntegerField(default=0)
    symbols = models.PositiveIntegerField(default=0)
    indexer = models.PositiveSmallIntegerField(default=0)
    chunks = models.PositiveIntegerField(default=0)
    skipped = models.JSONField(default=dict, blank=True, help_text="Reason → how many files were not indexed.")
    mirror_bytes = models.BigIntegerField(default=0)
    job_id = models.CharField(max_length=255, blank=True, default="")
    error = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(null=True, blank=True)
    indexed_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "code indexes"
        constraints = [models.CheckConstraint(name="code_index_state_known", condition=Q(state__in=IndexState.values))]

    def __str__(self) -> str:
        return f"{self.repository} at {self.sha[:12] or 'no commit'}"


class CodeFile(models.Model):
    """One file that was read: the same blob is not read again.

    skipped: why nothing of it was taken, seen when it was read. chunk_ids: of its documents in `repository-code`.
    """

    index = models.ForeignKey(CodeIndex, on_delete=models.CASCADE, related_name="code_files")
    path = models.TextField()
    blob = models.CharField(max_length=64)
    language = models.CharField(max_length=16, blank=True, default="")
    lines = models.PositiveIntegerField(default=0)
    skipped = models.CharField(max_length=40, blank=True, default="")
    chunk_ids = ArrayField(models.CharField(max_length=255), default=list, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="code_file_once", fields=["index", "path"])]

    def __str__(self) -> str:
        return self.path


class Symbol(models.Model):
    """A definition: its dotted name, kind and lines (from 1, both included)."""

    file = models.ForeignKey(CodeFile, on_delete=models.CASCADE, related_name="symbol_rows")
    name = models.CharField(max_length=255, help_text="Without what encloses it.")
    qualified_name = models.TextField()
    kind = models.CharField(max_length=16)
    line = models.PositiveIntegerField()
    end_line = models.PositiveIntegerField()
    signature = models.TextField(blank=True, default="")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["name"], name="symbol_of_name")]

    def __str__(self) -> str:
        return self.qualified_name


class Reference(models.Model):
    """A call, an import, or another use of a name in a file. receiver: what it is called on, or imported from."""

    file = models.ForeignKey(CodeFile, on_delete=models.CASCADE, related_name="reference_rows")
    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=8, default="call")
    receiver = models.CharField(max_length=255, blank=True, default="")
    line = models.PositiveIntegerField()
    enclosing = models.TextField(blank=True, default="", help_text="The symbol in which it stands.")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["name"], name="reference_of_name")]

    def __str__(self) -> str:
        return f"{self.name} in {self.file}:{self.line}"
