"""FAISS, loaded in the way that suits a worker: import it from here, inside the process that uses it."""

import importlib
import logging
import os
from typing import Any

# Its threads would otherwise spin while they wait, and take the core from the process beside it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# It tells at length which instruction sets it was not built for.
logging.getLogger("faiss.loader").setLevel(logging.WARNING)

#: Its stubs are of other versions, so it goes untyped.
faiss: Any = importlib.import_module("faiss")

#: As many as this process may run on.
CORES: int = faiss.omp_get_max_threads()

__all__ = ["CORES", "faiss"]
