"""The inside of `children.Child`: a line of JSON comes in, a function is called, a line of JSON goes out.

Its argument is the package that the functions are in; errors that the package names in NOT_INSTALLED tell that what
was to be measured is not on this machine.
"""

import importlib
import json
import os
import sys
import traceback
from typing import Any


def main() -> None:
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import django

    importlib.import_module("config")
    django.setup()
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(_call(sys.argv[1], asked["function"], asked["arguments"])) + "\n")


def _call(package: str, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    not_installed: tuple[type[Exception], ...] = getattr(importlib.import_module(package), "NOT_INSTALLED", ())
    module, name = function.rsplit(".", 1)
    try:
        called = getattr(importlib.import_module(f"{package}.{module}"), name)
        return {"answer": called(**arguments)}
    except not_installed as exc:
        return {"not_installed": str(exc)}
    except Exception as exc:
        traceback.print_exc()
        return {"error": f"{function}: {type(exc).__name__}: {exc}"[:2000]}


if __name__ == "__main__":
    main()
