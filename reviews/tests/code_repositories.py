"""Repositories whose code is indexed in tests: fetched from a folder, kept in Postgres."""

from dataclasses import dataclass

from reviews.changes import Change
from reviews.local_source import open_change
from reviews.models import CodeFile, CodeIndex, Reference, Repository, Symbol
from reviews.services import code_index
from reviews.standin.repositories import Files, Repo


@dataclass
class IndexedRepo:
    """origin: what is fetched; repository: its row."""

    origin: Repo
    repository: Repository

    def index(self, files: Files | None = None) -> dict:
        """Commit files to the default branch, if there are any, and index it."""
        if files is not None:
            self.origin.commit(files)
        return code_index.update(self.repository.pk)

    def row(self) -> CodeIndex:
        return CodeIndex.objects.get(repository=self.repository)

    def symbols(self) -> set[str]:
        found = Symbol.objects.filter(file__index__repository=self.repository)
        return {f"{path}: {name}" for path, name in found.values_list("file__path", "qualified_name")}

    def uses(self, name: str) -> set[str]:
        found = Reference.objects.filter(file__index__repository=self.repository, name=name)
        return {f"{path}:{line}" for path, line in found.values_list("file__path", "line")}

    def file(self, path: str) -> CodeFile:
        return CodeFile.objects.get(index__repository=self.repository, path=path)

    def change(self, files: Files) -> Change:
        """What a branch would change, read to the end while the repository is open."""
        base = self.origin.head()
        self.origin.git("checkout", "-q", "-b", "feature")
        head = self.origin.commit(files)
        self.origin.git("checkout", "-q", "main")
        self.origin.git("branch", "-q", "-D", "feature")
        self._opened = open_change(self.origin.path, base, head)
        return self._opened.__enter__()

    def close(self) -> None:
        if opened := getattr(self, "_opened", None):
            opened.__exit__(None, None, None)
