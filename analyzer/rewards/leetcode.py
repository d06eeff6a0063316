"""LeetCode: a method of the class Solution must pass a check, as code-r1 and LeetCodeDataset write it.

    ground_truth: '{"functional": "def check(candidate):\n    assert candidate(n=2) == 4\n\ncheck(Solution().double)"}'
                  '{"test": "def check(candidate): ...", "entry_point": "Solution().double", "prompt": "import math"}'
    response: "```python\nclass Solution:\n    def double(self, n):\n        return 2 * n\n```"

1.0 when the check passes, else 0.0. `prefix` or `prompt`, the imports and helpers that the data's programs expect,
stands before the program and the check. Plain values cross: a check that makes lists of nodes is a gold_error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from analyzer.rewards import register
from analyzer.rewards.code.tests import imports_of, parsed, refuse_one_sided
from analyzer.rewards.humaneval import FunctionReward, Tests
from analyzer.schema import GoldError


@register
class LeetCode(FunctionReward):
    """Whether the class in a response passes the check. Options as humaneval."""

    name: ClassVar[str] = "leetcode"
    data_sources: ClassVar[tuple[str, ...]] = ("leetcode", "leetcode2k", "LeetCodeDataset", "newfacade/LeetCodeDataset")

    def read(self, table: Mapping[str, Any]) -> Tests:
        """The check in a ground truth. Raises GoldError."""
        functional, test, entry_point = (table.get(name) for name in ("functional", "test", "entry_point"))
        prefix = table.get("prefix") or table.get("prompt") or ""
        if not isinstance(functional, str) and isinstance(test, str) and isinstance(entry_point, str):
            functional = f"{test}\n\ncheck({entry_point})"
        if not isinstance(functional, str) or not isinstance(prefix, str):
            raise GoldError("the ground truth needs `functional`, or `test` and `entry_point`, as texts")
        parsed(prefix)
        refuse_one_sided([functional])
        if "Solution" not in functional:
            raise GoldError("the check has no class Solution")
        return Tests(("Solution",), [prefix, functional], "", (prefix, imports_of(functional)))
