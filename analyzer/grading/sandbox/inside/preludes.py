"""The names that a program finds ready-made, by prelude. Executed once, when the sandbox starts.

contest   what verl 0.9.1 (utils/reward_score/prime_code/testing_util.py) puts above a program: the names of these
          modules, in this order (a later one hides an earlier one), and the modules themselves
modules   the modules alone and the names of `typing`: what the HumanEval and MBPP runners commonly add
none      nothing
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

_CONTEST_MODULES = [
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
]
_STARRED = [*_CONTEST_MODULES, "builtins", "typing"]
_BENCHMARK_MODULES = [*_CONTEST_MODULES, "hashlib", "typing"]


def _prelude(starred: Sequence[str], modules: Sequence[str]) -> dict[str, Any]:
    """What `from module import *` brings for each of `starred`, and then `modules` by their own names."""
    names: dict[str, Any] = {}
    for module in starred:
        # As `from module import *` has it: __all__, else all names without an underscore.
        loaded = importlib.import_module(module)
        public = getattr(loaded, "__all__", [name for name in vars(loaded) if not name.startswith("_")])
        names.update({name: getattr(loaded, name) for name in public})
    names.update({module: importlib.import_module(module) for module in modules})
    return names


# Built when the runner starts, so that no program pays for these imports.
PRELUDES: dict[str, dict[str, Any]] = {
    "contest": _prelude(_STARRED, _CONTEST_MODULES),
    "modules": _prelude(["typing"], _BENCHMARK_MODULES),
    "none": {},
}
