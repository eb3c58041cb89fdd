"""All seeded changes, made from the tables beside this file; the same every time."""

from collections.abc import Iterator, Sequence

from reviews.bench.seeded import across_files, hosts, ops_bugs, python_bugs, secret_bugs, web_bugs
from reviews.bench.seeded.case import Case, case, inserted

_Bugs = Sequence[tuple[str, str]]


def seeded_cases() -> list[Case]:
    """Changes that each have one bug."""
    made = [*_in_hosts("python", hosts.PYTHON, python_bugs.BUGS), *_in_hosts("web", hosts.WEB, web_bugs.BUGS)]
    made += _in_hosts("go", (("cmd/main.go", hosts.GO),), web_bugs.GO_BUGS)
    made += _in_hosts("tsx", (("src/View.tsx", 'import React from "react";\n'),), web_bugs.TSX_BUGS)
    made += _in_hosts("shell", hosts.SHELL, ops_bugs.SHELL_BUGS, everywhere=False)
    made += _in_hosts("docker", (("Dockerfile", hosts.DOCKERFILE),), _marked(ops_bugs.DOCKER_BUGS))
    made += _in_hosts("workflow", ((".github/workflows/ci.yml", hosts.WORKFLOW),), _marked(ops_bugs.WORKFLOW_BUGS))
    for n in range(2):
        made += [case(f"secret {n} {path}", {}, {path: text}, rules) for rules, path, text in secret_bugs.bugs(n)]
    return [*made, *across_files.breaks()]


def clean_cases() -> list[Case]:
    """Changes that have none: the same things done well, and edits that move or reword what is there."""
    made = [
        *_in_hosts("python", hosts.PYTHON, _plain(python_bugs.CLEAN)),
        *_in_hosts("web", hosts.WEB, _plain(web_bugs.CLEAN)),
    ]
    made += _in_hosts("go", (("cmd/main.go", hosts.GO),), _plain(web_bugs.GO_CLEAN))
    made += _in_hosts("tsx", (("src/View.tsx", 'import React from "react";\n'),), _plain(web_bugs.TSX_CLEAN))
    made += _in_hosts("shell", hosts.SHELL, _plain(ops_bugs.SHELL_CLEAN), everywhere=False)
    made += _in_hosts("docker", (("Dockerfile", hosts.DOCKERFILE),), _plain(ops_bugs.DOCKER_CLEAN))
    made += _in_hosts("workflow", ((".github/workflows/ci.yml", hosts.WORKFLOW),), _plain(ops_bugs.WORKFLOW_CLEAN))
    for n in range(2):
        made += [Case(f"no secret {n} {path}", {}, {path: text}) for path, text in secret_bugs.clean(n)]
    return [*made, *across_files.harmless(), *_edits()]


def _in_hosts(name: str, files: _Bugs, bugs: _Bugs, *, everywhere: bool = True) -> Iterator[Case]:
    """Each bug in each host: at its end in one, inside in the next."""
    for path, host in files:
        for number, (rules, snippet) in enumerate(bugs):
            at_end = everywhere and number % 2 == 0 and name not in ("docker", "workflow")
            head = inserted(host, snippet, at_end=at_end)
            yield case(f"{name} {path} {number}", {path: host}, {path: head}, rules)


def _plain(snippets: Sequence[str]) -> _Bugs:
    return [("", snippet) for snippet in snippets]


def _marked(bugs: _Bugs) -> _Bugs:
    """Those without a mark have their bug on their first line."""
    return [(rules, text if "§" in text else text.replace("\n", "§\n", 1)) for rules, text in bugs]


def _edits() -> Iterator[Case]:
    """What is there, findings included, moved, indented, reworded or written in another file."""
    files = (*hosts.PYTHON, *hosts.WEB, ("cmd/main.go", hosts.GO), *hosts.SHELL, ("Dockerfile", hosts.DOCKERFILE))
    for path, text in files:
        note = "//" if path.endswith((".ts", ".js", ".go")) else "#"
        yield Case(f"a note in {path}", {path: text}, {path: text.replace(f"{note} HERE", f"{note} HERE, and more")})
        yield Case(f"line ends of {path}", {path: text}, {path: text.rstrip("\n") + "\n\n"})
        if "Dockerfile" not in path:
            yield Case(f"moved {path}", {path: text}, {f"moved/{path.rsplit('/', 1)[-1]}": text})
        yield Case(f"gone {path}", {path: text}, {})
