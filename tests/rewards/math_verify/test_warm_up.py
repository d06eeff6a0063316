"""What is loaded once, before children are forked: all that sympy imports on first use, but no units and no tensors."""

from __future__ import annotations

from tests import processes

PROGRAM = """
import sys
from analyzer.rewards.math_verify.reward import MathVerify
reward = MathVerify()
reward.load()
before = set(sys.modules)
answers = {"2x+2": "2(x+1)", "x = 1": "3x = 3", "2\\\\sqrt{2}": "\\\\sqrt{8}", "181": "9^{1311}"}
for gold, answer in answers.items():
    reward.grade(reward.extract(f"${answer}$"), gold)
print(sorted(set(sys.modules) - before))
print([name for name in ("sympy.physics.units.systems", "sympy.combinatorics") if name in sys.modules])

import sympy
from sympy.physics.units import meter, centimeter, convert_to
import sympy.physics.units.util
from sympy.physics.units import Quantity
from sympy.tensor.tensor import TensorIndexType, TensorHead, tensor_indices
L = TensorIndexType("L")
a, b = tensor_indices("a b", L)
A = TensorHead("A", [L])
print(type(A(a) + 2 * A(a)).__name__, A(a) + 2 * A(a))
print(convert_to(meter, centimeter), isinstance(meter, Quantity), sympy.simplify(meter + 2 * meter))
"""


def test_first_answers_import_nothing_and_what_is_left_out_is_there_for_those_who_ask() -> None:
    ran = processes.run(["-c", PROGRAM])
    assert ran.stdout.splitlines() == ["[]", "[]", "TensMul 3*A(a)", "100*centimeter True 3*meter"], ran.stderr
