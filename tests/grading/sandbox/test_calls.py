"""Calls both ways between a test and a program: functions, coroutines, arrays, output, and what nobody gains."""

from __future__ import annotations

import pytest

from analyzer.grading.sandbox import Budget, FaultyTest, Sandbox, Verdict
from analyzer.grading.sandbox.inside.values import MAX_DEPTH

BUDGET = Budget(cpu_seconds=1.0)
COMPOSE = "def f(*fs):\n    def g(x):\n        for h in fs[::-1]: x = h(x)\n        return x\n    return g"
WRAP = "import functools\ndef f(g):\n    @functools.wraps(g)\n    def wrapped(*a): return g(*a) * 2\n    return wrapped"
CURRY = (
    "{}\ndef f(g):\n    def curried(*a): return g(*a) if len(a) >= {} else lambda *b: curried(*a, *b)\n"
    "    return curried"
)
CURRIED = "assert f(lambda a, b, c: a + b + c)(1)(2)(3) == 6"
RETRY = "def f(g):\n    for _ in range(3):\n        try: return g()\n        except {} as e: last = e\n    raise last"
CAPTURE = (
    "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_std{}(out):\n    {}\n"
    "assert out.getvalue() == {!r}"
)
GATHER = (
    "import asyncio\nasync def main(): return await asyncio.gather(f(1), f(2))\nassert asyncio.run(main()) == [2, 4]"
)
STREAM = (
    "import asyncio\nasync def main():\n    async for x in f():\n        if x > 4: return x\n"
    "assert asyncio.run(main()) == 5"
)
FAILS = (
    "import asyncio\nasync def main(): return await asyncio.gather(f(1), return_exceptions=True)\n"
    "[error] = asyncio.run(main())\nassert (type(error), str(error)) == (ValueError, 'bad')"
)
OF_THE_TEST = (
    "class Own(Exception): pass\ndef broken(): raise Own('no')\ntry: f(broken)\n"
    "except Own as error: assert str(error) == 'no'\nelse: assert False"
)

PROGRAMS = {  # test -> a right and a wrong program
    "assert f(lambda x: x + 1, lambda x: x * 2)(5) == 11": (COMPOSE, COMPOSE.replace("[::-1]", "")),
    "assert f(['b', 'ccc', 'aa'], key=len) == ['b', 'aa', 'ccc']": (
        "def f(x, key): return sorted(x, key=key)",
        "def f(x, key): return sorted(x)",
    ),
    "@f\ndef foo(x):\n    'doc'\n    return x\nassert (foo(3), foo.__name__, foo.__doc__) == (6, 'foo', 'doc')": (
        WRAP,
        WRAP.replace("@functools.wraps(g)", ""),
    ),
    CURRIED: (CURRY.format("", "g.__code__.co_argcount"), CURRY.format("", "1")),
    CURRIED + "\n": (CURRY.format("import inspect", "len(inspect.signature(g).parameters)"), CURRY.format("", "4")),
    "seen = []\ndef g(x): seen.append(x); return x\nh = f(g)\nassert [h(2), h(2)] == [2, 2] and seen == [2]": (
        "def f(g):\n    m = {}\n    return lambda x: m[x] if x in m else m.setdefault(x, g(x))",
        "def f(g): return g",
    ),
    "from unittest.mock import MagicMock\nm = MagicMock(return_value=3)\nassert f(m) == 3\n"
    "m.assert_called_once_with(1, a=2)": (
        "def f(g): return g(1, a=2)",
        "def f(g): return g(1)",
    ),
    OF_THE_TEST: (RETRY.format("Exception"), "def f(g): raise Exception('no')"),
    "h = lambda: 1\nassert f(h) is h and f(f) is not h": ("def f(g): return g", "def f(g): return lambda: 1"),
    "assert f(lambda a, i: a.append(i)) == [0, 1]": (
        "def f(g):\n    a = []\n    for i in range(2): g(a, i)\n    return a",
        "def f(g): return []",
    ),
    "assert f(3, int) and not f('a', (int, float)) and f(KeyError, KeyError)": (
        "def f(x, t): return isinstance(x, t) or t is KeyError",
        "def f(x, t): return True",
    ),
    "from concurrent.futures import ThreadPoolExecutor as P\n"
    "with P(4) as p: assert [*p.map(f, range(9))] == [*range(9)]": (
        "def f(x): return x",
        "def f(x): return x % 8",
    ),
    "assert f(lambda x: x + 1, [1, 2, 3]) == [2, 3, 4]": (
        "from concurrent.futures import ThreadPoolExecutor\ndef f(g, xs):\n"
        "    with ThreadPoolExecutor(3) as p: return [*p.map(g, xs)]",
        "def f(g, xs): return xs",
    ),
    "import asyncio\nassert asyncio.run(f(1)) == 2": ("async def f(x): return 2 * x", "def f(x): return 2 * x"),
    GATHER: (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return 2 * x",
        "async def f(x): return x",
    ),
    FAILS: ("async def f(x): raise ValueError('bad')", "async def f(x): raise ValueError('good')"),
    STREAM: ("async def f():\n    for x in range(10**9): yield x", "async def f():\n    yield 1"),
    "import asyncio\nasync def g(x): return x\nasync def main(): return await f([g(1), g(2)])\n"
    "assert asyncio.run(main()) == [1, 2]": (
        "import asyncio\nasync def f(given): return await asyncio.gather(*given)",
        "async def f(given): return [1 for _ in given]",
    ),
    CAPTURE.format("out", "f(3)", "3\n"): ("def f(x): print(x)", "def f(x): print(x, end='')"),
    CAPTURE.format("out", "f(lambda: print(2))", "1\n2\n3\n"): (
        "def f(g):\n    print(1)\n    g()\n    print(3)",
        "def f(g):\n    print(1)\n    print(3)\n    g()",
    ),
    CAPTURE.format("err", "f()", "x\n"): (
        "import sys\ndef f(): print('x', file=sys.stderr)",
        "def f(): print('x')",
    ),
    CAPTURE.format("out", "try: f()\n    except ValueError: pass", "x\n"): (
        "def f():\n    print('x')\n    raise ValueError",
        "def f(): raise ValueError('x')",
    ),
    "from unittest.mock import patch\nwith patch('builtins.input', side_effect=['3', '4']): assert f() == 7": (
        "def f(): return int(input()) + int(input())",
        "def f(): return int(input()) + 3",
    ),
    "from unittest.mock import patch\nwith patch('builtins.print') as p: f()\np.assert_called_once_with('a')": (
        "def f(): print('a')",
        "def f(): print('a', end='')",
    ),
    "import io, sys\nsys.stdin = io.StringIO('3\\n4\\n')\nassert (f(), f()) == (3, 4)": (
        "def f(): return int(input())",
        "def f(): return 3",
    ),
    "import random\nrandom.seed(42)\nx = random.random()\nrandom.seed(42)\nassert f() == x": (
        "import random\ndef f(): return random.random()",
        "import random\ndef f(): return random.random() / 2",
    ),
    "import numpy as np\nassert (f(np.array([[1.0, 2], [3, 4]])) == np.array([2.0, 3])).all()": (
        "def f(a): return a.mean(axis=0)",
        "def f(a): return a.mean(axis=1)",
    ),
    "import numpy as np\nassert f(np.empty((0, 3))) == 3": (
        "def f(a): return a.shape[1]",
        "def f(a): return a.shape[0]",
    ),
    "import numpy as np\nassert np.allclose(f(3), [1, 2, 3])": (
        "import numpy as np\ndef f(n): return np.arange(1, n + 1)",
        "import numpy as np\ndef f(n): return np.empty((0, 3))",
    ),
    "assert f({1: 2}) == {1} and len(f({1: 2})) == 1": ("def f(d): return d.keys()", "def f(d): return d.values()"),
    "v = []\nfor _ in range(250): v = [v]\nassert f(v) == v": ("def f(x): return x", "def f(x): return x[0]"),
}


def outcome(sandbox: Sandbox, program: str, test: str) -> Verdict | None:
    return sandbox.check([program], ["", test], ["f"], BUDGET, "modules").verdict


def test_a_program_does_in_its_own_sandbox_what_it_does_beside_its_test(sandbox: Sandbox) -> None:
    for test, (right, wrong) in PROGRAMS.items():
        assert outcome(sandbox, right, test) is Verdict.ACCEPTED, test
        assert outcome(sandbox, wrong, test) in (Verdict.WRONG, Verdict.RUNTIME_ERROR), test


@pytest.mark.parametrize(
    "argument", ["object()", "type('A', (), {})()", "type('A', (), {})", "open", "eval", "getattr", "str.format"]
)
def test_a_test_that_gives_what_cannot_cross_is_faulty_whatever_was_called_before(
    sandbox: Sandbox, argument: str
) -> None:
    with pytest.raises(FaultyTest, match="cannot cross"):
        outcome(sandbox, "def f(x): return x", f"assert f(1) == 1\ntry: f([{argument}])\nexcept Exception: pass")


SEND = """
import json, os, struct, socket
def send(tag, body):
    body = json.dumps(body).encode()
    os.write(3, struct.pack(">Ic", len(body), tag) + body)
def f(x):
    {}
    return x
"""
FORGED = {
    "replaces_functions_of_the_test": 'send(b"C", ["call", 0, ["l"], ["d"], ["d", "print", ["type", '
    '"int"], "stdin", "2"]])',
    "calls_by_name": 'send(b"C", ["call", "check", ["l"], ["d"], ["d"]])',
    "calls_what_it_was_not_given": 'send(b"C", ["call", 99, ["l"], ["d"], ["d"]])',
    "calls_with_garbage": 'send(b"C", ["call"])',
    "hands_over_a_type_of_power": 'send(b"V", ["type", "eval"]); send(b"V", ["type", "type"])',
    "hands_over_an_array_of_objects": 'send(b"V", ["array", "|O", ["t", 1], ["l"]])',
    "hands_over_what_it_was_not_given": 'send(b"V", ["yours", 99]); send(b"V", ["yours", "f"])',
    "raises_what_was_not_raised": 'send(b"R", {"text": "", "type": "x", "yours": 5})',
    "prints_to_nowhere": 'send(b"P", ["stdin", "2"]); send(b"V", 2)',
    "prints_no_text": 'send(b"P", ["stdout", 2]); send(b"V", 2)',
    "prints_for_ever": 'while True: send(b"P", ["stdout", "x" * 10_000])',
    "returns_what_is_too_deep": f"exec('for _ in range({2 * MAX_DEPTH}): x = [x]', None, v := dict(x=x)); x = v['x']",
}


def test_no_message_out_of_turn_passes_a_test(sandbox: Sandbox) -> None:
    """`print` is the test's own to the end, and what a program may say of it is refused or is a wrong answer."""
    test = "import builtins, io\nown = builtins.print\nassert f(1) == 2 or builtins.print is not own\n"
    "assert f(lambda: 1) == 2"
    for name, source in FORGED.items():
        verdict = outcome(sandbox, SEND.format(source), test)
        assert verdict not in (Verdict.ACCEPTED, None), name
    assert outcome(sandbox, "def f(x): return 2", test) is Verdict.ACCEPTED


def test_a_function_that_is_called_for_its_value_alone_gives_no_function(sandbox: Sandbox) -> None:
    given = sandbox.call(["def f(x): return print"], "f", [1], BUDGET)
    assert given.verdict is Verdict.WRONG
    deep: list[object] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(FaultyTest, match="nested deeper"):
        sandbox.call(["def f(x): return x"], "f", [deep], BUDGET)
