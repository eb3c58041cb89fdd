from jobs.tests.sending import send_from_a_process

_LOADED = """
import gc
from importlib import import_module
said = [gc.isenabled(), "jobs.admin" in sys.modules, "github" in sys.modules]
import_module("config.wsgi")
print(*said, "jobs.admin" in sys.modules)
"""


def test_a_process_loads_pages_when_it_serves_them_and_has_its_garbage_collected(db: None) -> None:
    assert send_from_a_process(_LOADED).split() == ["True", "False", "False", "True"]
