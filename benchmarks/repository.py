"""Where the repository lies, and what its tests can lend to a benchmark."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).parents[1]


def import_test_support(name: str) -> ModuleType:
    """Return a module of `tests/support`, which imports its own kind by that name too."""
    tests = str(REPOSITORY / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return importlib.import_module(f"support.{name}")
