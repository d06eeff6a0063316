"""Verdicts: what a program does, and what is said of it; at each level what may depend on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.grading.sandbox import Budget, FaultyTest, Level, Sandbox, Verdict, python
from analyzer.grading.sandbox.inside.values import unpack
from tests.grading.sandbox.conftest import EVERY_LEVEL

BUDGET = Budget(cpu_seconds=0.7)
SHORT = Budget(cpu_seconds=0.1)  # for what uses up all that it gets
STUB = "def f(x):\n    pass\n"
CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate([1, 2.5]) == (1, 2.5)\n"
RIGHT = "def f(x):\n    return x + 1 if isinstance(x, int) else tuple(x)\n"


def run(sandbox: Sandbox, source: str, given: str = "", prelude: str = "contest") -> tuple[Verdict | None, str]:
    outcome = sandbox.run_script([source], given.encode(), BUDGET, prelude)
    return outcome.verdict, outcome.output.decode()


def check(sandbox: Sandbox, source: str, test: str = CHECK, budget: Budget = BUDGET) -> Verdict | None:
    return sandbox.check([source], [STUB, test, "check(f)"], ["f"], budget, "modules").verdict


SCRIPTS = {
    "input": ("print(int(input()) + int(input()))", "1\n2\n", "3\n"),
    "sys_stdin": ("import sys\nfor line in sys.stdin: print(line.strip()[::-1])", "ab\ncd", "ba\ndc\n"),
    "prelude_names": ("print(gcd(12, 18), deque([1])[0], stdin.readline())", "x\n", "6 1 x\n\n"),
    "raw_descriptors": ("import os\nos.write(1, os.read(0, os.fstat(0).st_size))", "as it is\x00\n", "as it is\x00\n"),
    "main_guard": ("if __name__ == '__main__': print('main')", "", "main\n"),
    "exit": ("print('before')\nexit(3)\nprint('after')", "", "before\n"),
    "sys_exit_in_function": ("def main():\n    print(1)\n    sys.exit()\nmain()", "", "1\n"),
    "thread": (
        "import threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
        "threading.Thread(target=lambda: print(input())).start()",
        "deep\n",
        "deep\n",
    ),
    "recursion_through_c": (
        "sys.setrecursionlimit(10**6)\ndef f(n): return 1 + sum(f(m) for m in [n - 1] if n)\nprint(f(40_000))",
        "",
        "40001\n",
    ),
    "atexit": ("import atexit\natexit.register(lambda: print('late'))\nprint('soon')", "", "soon\nlate\n"),
    "dataclass": ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))", "", "A(x=1)\n"),
    "future_import": ("from __future__ import annotations\ndef f(x: undefined): return x\nprint(f(1))", "", "1\n"),
    "asyncio": ("import asyncio\nasync def f(): print('async')\nasyncio.run(f())", "", "async\n"),
    "scratch_file": ("open('x', 'w').write('kept')\nprint(open('x').read())", "", "kept\n"),
    "temporary_file": ("import tempfile\nwith tempfile.TemporaryFile('w+') as f: print(f.write('ab'))", "", "2\n"),
    "finaliser": ("class A:\n    def __del__(self): print('deleted')\na = A()\nprint('end')", "", "end\ndeleted\n"),
    "generator_left_open": ("def f():\n    try: yield\n    finally: print('closed')\na = f()\nnext(a)", "", "closed\n"),
    "own_stream_left_open": (
        "import io, os\nclass Out(io.IOBase):\n    def flush(self):\n        if self.text: os.write(1, self.text)\n"
        "        self.text = b''\nout = Out()\nout.text = b'flushed\\n'",
        "",
        "flushed\n",
    ),
    "own_class_of_stream": (
        "import io\nclass Out(io.BufferedWriter): pass\nOut(io.FileIO(1, 'w')).write(b'x')",
        "",
        "x",
    ),
    "output_of_c": ("import ctypes\nctypes.CDLL(None).printf(b'of C\\n')", "", "of C\n"),
    "excepthook": ("def f(*_):\n    print('hook')\n    sys.exit()\nsys.excepthook = f\n1 / 0", "", "hook\n"),
    "pools_of_threads": (
        "from multiprocessing.dummy import Pool, Lock\nfrom multiprocessing.pool import ThreadPool\n"
        "with Pool() as a, ThreadPool(2) as b, Lock(): print(a.map(abs, [-1]) + b.map(abs, [-2]))",
        "",
        "[1, 2]\n",
    ),
    "locks_of_multiprocessing": (
        "import multiprocessing as m\nq, e = m.SimpleQueue(), m.Event()\ne.set()\nq.put(e.wait())\nprint(q.get())",
        "",
        "True\n",
    ),
    "many_threads": (
        "import threading\nend = threading.Event()\nthreads = [threading.Thread(target=end.wait) for _ in range(50)]\n"
        "for t in threads: t.start()\nend.set()\nprint(len(threads))",
        "",
        "50\n",
    ),
    "few_cores_on_any_machine": ("import os\nprint(os.cpu_count())", "", "4\n"),
    "stat_of_stdin": (
        "import os\nprint(os.path.isfile('/dev/stdin'), os.stat('/dev/fd/0').st_size)",
        "abc",
        "True 3\n",
    ),
    "own_module": ("with open('helper.py', 'w') as f: f.write('x = 3')\nimport helper\nprint(helper.x)", "", "3\n"),
    "standard_library": ("import fractions, decimal, sqlite3, zoneinfo\nprint(fractions.Fraction(1, 2))", "", "1/2\n"),
}


@pytest.mark.parametrize(("source", "given", "output"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_runs_as_a_process_would(sandbox: Sandbox, source: str, given: str, output: str) -> None:
    assert run(sandbox, source, given) == (None, output)


# What a level has a part in: files, streams, threads, semaphores, libraries, cores.
OF_LEVELS = (
    "input", "raw_descriptors", "thread", "asyncio", "scratch_file", "temporary_file", "output_of_c",
    "pools_of_threads", "locks_of_multiprocessing", "many_threads", "few_cores_on_any_machine", "stat_of_stdin",
    "own_module", "standard_library",
)  # fmt: skip


@pytest.mark.parametrize("level", ["landlock", "rlimits"], indirect=True, scope="module")
def test_what_a_level_has_a_part_in_is_as_in_a_process_at_the_weaker_ones_too(sandbox: Sandbox) -> None:
    found = {name: run(sandbox, *SCRIPTS[name][:2]) for name in OF_LEVELS}
    assert found == {name: (None, SCRIPTS[name][2]) for name in OF_LEVELS}


@pytest.mark.parametrize("level", ["rlimits"], indirect=True, scope="module")
def test_programs_import_the_libraries_of_the_worker_alone(sandbox: Sandbox) -> None:
    """Not those of the Python that its virtual environment was made from: they may be of other versions."""
    _, output = run(sandbox, "import os\nprint(*map(os.path.realpath, sys.path), sep='\\n')")
    assert [path for path in output.split() if path.endswith("-packages")] == python.site_packages()


STREAMS = {
    "stdout_closed": "import sys\nprint(3)\nsys.stdout.close()",
    "stdout_gone": "import sys\nprint(3)\nsys.stdout = None",
    "stdout_replaced_later": "import sys, io\nprint(3)\nsys.stdout = io.StringIO()",
    "stdout_collected": "import sys, io\no = sys.stdout = io.StringIO()\nprint(3)\nsys.__stdout__.write(o.getvalue())",
    "text_left_open": "out = open(1, 'w')\nout.write('3\\n')",
    "bytes_left_open": "out = open(1, 'wb')\nout.write(b'3\\n')",
    "fdopen": "import os\nout = os.fdopen(1, 'w')\nout.write('3\\n')",
    "text_over_the_buffer": "import io, sys\nout = io.TextIOWrapper(sys.stdout.buffer)\nout.write('3\\n')",
    "buffer_over_a_file": "import io\nout = io.BufferedWriter(io.FileIO(1, 'w'))\nout.write(b'3\\n')",
    "dev_stdin": "print(sum(map(int, open('/dev/stdin').read().split())))",
    "dev_stdin_is_stdin": "import sys\nsys.stdin = open('/dev/stdin')\nprint(sum(map(int, input().split())))",
    "dev_fd": "print(sum(map(int, open('/dev/fd/0', 'rb').readline().split())))",
    "proc_self_fd": "print(sum(map(int, open('/proc/self/fd/0').read().split())))",
    "dev_stdin_as_a_path": "import pathlib\nprint(sum(map(int, pathlib.Path('/dev/stdin').read_text().split())))",
    "os_open": "import os\nprint(sum(map(int, os.read(os.open('/dev/stdin', os.O_RDONLY), 9).split())))",
    "dev_stdout": "with open('/dev/stdout', 'w') as out: out.write('3\\n')",
    "fileinput": "import fileinput\nprint(sum(int(x) for line in fileinput.input() for x in line.split()))",
    "argv": "import sys\nprint(len(sys.argv) + 2)",
    "file": "import os\nprint(3 if os.path.basename(__file__).endswith('.py') else 4)",
}


@EVERY_LEVEL
@pytest.mark.parametrize("prelude", ["contest", "none"])
@pytest.mark.parametrize("source", STREAMS.values(), ids=STREAMS)
def test_streams_are_those_of_a_process(sandbox: Sandbox, source: str, prelude: str) -> None:
    assert run(sandbox, source, "1 2\n", prelude) == (None, "3\n")


@pytest.mark.parametrize("source", STREAMS.values(), ids=STREAMS)
def test_a_real_process_says_the_same(source: str, tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(source)
    command = [sys.executable, "-S", str(tmp_path / "solution.py")]  # no packages, which take half of its time
    assert subprocess.run(command, input="1 2\n", stdout=subprocess.PIPE, text=True, check=True).stdout == "3\n"


def test_a_verdict_does_not_depend_on_chance(sandbox: Sandbox) -> None:
    source = "import random\nprint(random.random(), hash('x'), list({'a', 'b', 'c'}))"
    assert run(sandbox, source) == run(sandbox, source)


FAILURES = {
    "raises": ("1 / 0", Verdict.RUNTIME_ERROR),
    "no_syntax": ("def", Verdict.COMPILE_ERROR),
    "exits_hard": ("import os\nos._exit(5)", Verdict.RUNTIME_ERROR),
    "raises_at_exit": ("class F:\n    def __repr__(self): 1 / 0\nraise ValueError(F())", Verdict.RUNTIME_ERROR),
    "raises_base_exception": ("raise KeyboardInterrupt", Verdict.RUNTIME_ERROR),
    "recursion": ("import sys\nsys.setrecursionlimit(20_000)\ndef f(): return [f()]\nf()", Verdict.RUNTIME_ERROR),
    "reads_too_much": ("input()", Verdict.RUNTIME_ERROR),
    "claims_to_be_confined": ("import os\nos._exit(111)", Verdict.RUNTIME_ERROR),
    "closes_all": ("import os\nos.closerange(0, 64)\nraise ValueError", Verdict.RUNTIME_ERROR),
}


@EVERY_LEVEL
@pytest.mark.parametrize(("source", "verdict"), FAILURES.values(), ids=FAILURES)
def test_a_script_that_fails_gets_a_verdict_that_says_how(sandbox: Sandbox, source: str, verdict: Verdict) -> None:
    assert run(sandbox, source) == (verdict, "")


@pytest.mark.parametrize("level", ["rlimits"], indirect=True, scope="module")
def test_as_deep_a_recursion_as_contests_allow_gets_a_verdict(sandbox: Sandbox) -> None:
    """It depends on the memory of a frame which one."""
    outcome = sandbox.run_script(["def f(): return [f()]\nf()"], b"", Budget(memory_bytes=48 << 20), "contest")
    assert outcome.verdict in (Verdict.RUNTIME_ERROR, Verdict.MEMORY_LIMIT)


def test_a_function_gets_and_gives_plain_values(sandbox: Sandbox) -> None:
    outcome = sandbox.call(["def f(a, b): return {1: (a, b)}, {3}"], "f", [[1.5, None], "é\ud800"], BUDGET)
    assert outcome.verdict is None
    assert unpack(json.loads(outcome.output)) == ({1: ([1.5, None], "é\ud800")}, {3})


def test_a_method_of_a_class_solution_is_found(sandbox: Sandbox) -> None:
    outcome = sandbox.call(["class Solution:\n    def f(self, a): return a * 2"], "f", [21], BUDGET)
    assert outcome.output == b"42"


FORGE = """
import os, struct
def f(x):
    body = {1}
    frame = memoryview(struct.pack(">Ic", len(body), {0}) + body)
    while frame:
        frame = frame[os.write(3, frame):]
    return x
"""

CALLS = {
    "raises": ("def f(x): raise ValueError", Verdict.RUNTIME_ERROR),
    "exits": ("import sys\ndef f(x): sys.exit(0)", Verdict.RUNTIME_ERROR),
    "exits_hard": ("import os\ndef f(x): os._exit(0)", Verdict.RUNTIME_ERROR),
    "exits_when_loaded": ("raise SystemExit(0)", Verdict.RUNTIME_ERROR),
    "is_missing": ("def g(x): return x", Verdict.RUNTIME_ERROR),
    "is_no_program": ("f = lambda x:", Verdict.COMPILE_ERROR),
    "is_slow": ("def f(x):\n    while True: pass", Verdict.TIME_LIMIT),
    "takes_memory": ("def f(x): return bytearray(1 << 30)", Verdict.MEMORY_LIMIT),
    "returns_too_much": ("def f(x): return ['x' * 1000] * 2000", Verdict.OUTPUT_LIMIT),
    "prints_too_much": ("def f(x):\n    while True: print('x' * 10000)", Verdict.OUTPUT_LIMIT),
    "returns_an_object": ("def f(x): return object()", Verdict.UNCROSSABLE),
    "returns_a_generator": ("def f(x): yield x", Verdict.WRONG),
    "speaks_out_of_turn": ("import os\nos.write(3, b'garbage' * 100)\ndef f(x): return x", Verdict.OUTPUT_LIMIT),
    "answers_with_deep_brackets": (FORGE.format("b'V'", "b'[' * 450_000 + b']' * 450_000"), Verdict.WRONG),
    "answers_with_many_brackets": (FORGE.format("b'V'", "b'[' + b'[],' * 5_000 + b'0]'"), Verdict.WRONG),
    "answers_with_open_quotes": (FORGE.format("b'V'", "b'[' * 200 + bytes([34, 92]) * 400_000"), Verdict.WRONG),
    "answers_with_garbage": (FORGE.format("b'V'", "bytes(range(256)) * 100"), Verdict.WRONG),
    "answers_with_a_dict_for_a_key": (FORGE.format("b'V'", "b'[\"d\",{},1]'"), Verdict.WRONG),
    "answers_with_a_long_number": (FORGE.format("b'V'", "b'9' * 5000"), Verdict.WRONG),
    "answers_with_no_length": (FORGE.format("b'V'", "b''"), Verdict.WRONG),
    "answers_with_an_unknown_tag": (FORGE.format("b'Z'", "b'2'"), Verdict.WRONG),
    "answers_with_done": (FORGE.format("b'D'", "b'\"nonce\"'"), Verdict.WRONG),
    "raises_a_deep_text": (
        FORGE.format("b'R'", "b'{\"text\":' + b'[' * 900 + b']' * 900 + b'}'"),
        Verdict.RUNTIME_ERROR,
    ),
    "raises_what_is_no_dict": (FORGE.format("b'R'", "b'[' * 450_000"), Verdict.RUNTIME_ERROR),
    "raises_a_type_that_is_no_text": (
        FORGE.format("b'R'", 'b\'{"type":[1],"errno":"x"}\''),
        Verdict.RUNTIME_ERROR,
    ),
    "returns_a_text_that_is_uncrossable": (FORGE.format("b'U'", "b'{\"text\":{}}'"), Verdict.UNCROSSABLE),
    "answers_with_a_frame_of_gigabytes": (
        "import os\ndef f(x): os.write(3, b'\\xff' * 5); return x",
        Verdict.OUTPUT_LIMIT,
    ),
    "fails_with_deep_brackets": (
        "import os, struct\nbody = b'{\"text\":' + b'[' * 900 + b']' * 900 + b'}'\n"
        "os.write(3, struct.pack('>Ic', len(body), b'F') + body)\nos._exit(1)",
        Verdict.RUNTIME_ERROR,
    ),
    "hangs_up": ("import os\ndef f(x): os.close(3); return x", Verdict.RUNTIME_ERROR),
}


@pytest.mark.parametrize(("source", "verdict"), CALLS.values(), ids=CALLS)
def test_a_function_that_fails_gets_a_verdict_that_says_how(sandbox: Sandbox, source: str, verdict: Verdict) -> None:
    budget = SHORT if verdict is Verdict.TIME_LIMIT else BUDGET
    outcome = sandbox.call([source], "f", [1], budget)
    # None: another value, which its judge compares. An object would be wrong in any case.
    assert (outcome.verdict or Verdict.WRONG) is (Verdict.WRONG if verdict is Verdict.UNCROSSABLE else verdict)
    assert check(sandbox, source, budget=budget) is verdict


REFUSED = (
    "import subprocess\ndef f(x): subprocess.run(['echo'])",
    "from multiprocessing import Pool\ndef f(x): return Pool(2)",
    "import tempfile\ndef f(x):\n    with tempfile.TemporaryDirectory(): return 2",
    "import socket\nsocket.socket()",
    "open('/usr/x', 'w')",
)


def test_a_program_that_asks_for_what_is_refused_has_a_verdict_of_its_own(sandbox: Sandbox, level: Level) -> None:
    if not level.contains:
        pytest.skip("this level refuses nothing")
    assert [check(sandbox, source) for source in REFUSED] == [Verdict.REFUSED] * len(REFUSED)


@pytest.mark.parametrize("source", ["def f(x): return '(' * 450_000", "def f(x): return '[' * 450_000"])
def test_a_test_that_crashes_on_an_answer_is_failed_by_it(sandbox: Sandbox, source: str) -> None:
    test = "import json\ndef check(candidate):\n    json.loads(candidate(1))\n"
    assert check(sandbox, source, test) is Verdict.WRONG
    test = "def check(candidate):\n    assert eval(candidate(1)) == 2\n"
    assert check(sandbox, source, test) in (Verdict.WRONG, Verdict.MEMORY_LIMIT)


@pytest.mark.parametrize("test", ["while True: pass", "def check(candidate):\n    while True: pass\n"])
def test_a_test_that_takes_too_long_before_it_calls_the_program_is_faulty(sandbox: Sandbox, test: str) -> None:
    with pytest.raises(FaultyTest, match="the test took too long"):
        check(sandbox, RIGHT, test, SHORT)


def test_a_test_that_crashes_by_itself_is_faulty(sandbox: Sandbox) -> None:
    with pytest.raises(FaultyTest):
        check(sandbox, RIGHT, "import os, signal\ndef check(f): os.kill(os.getpid(), signal.SIGSEGV)")


@EVERY_LEVEL
def test_a_right_function_passes_its_test(sandbox: Sandbox) -> None:
    assert check(sandbox, RIGHT) is Verdict.ACCEPTED
    assert check(sandbox, "def f(x): return x") is Verdict.WRONG


TRICKS = {
    "equals_everything": "class E:\n    def __eq__(self, other): return True\ndef f(x): return E()",
    "int_that_equals_everything": "class E(int):\n    def __eq__(self, other): return True\ndef f(x): return E(7)",
    "bool_of_an_object": "class E:\n    def __bool__(self): return True\ndef f(x): return E()",
    "exits": "import sys\ndef f(x): sys.exit(0)",
    "exits_hard": "import os\ndef f(x): os._exit(0)",
    "patches_builtins": "import builtins\nbuiltins.isinstance = lambda *_: True\nbuiltins.AssertionError = ValueError\n"
    "def f(x): return x",
    "prints_the_answer": "def f(x):\n    print('accepted', 'OK', 'True')\n    return None",
    "forges_an_answer": "import os\ndef f(x):\n    os.write(3, b'\\0\\0\\0\\x04Dnull')\n    return x",
    "looks_for_the_test": "import gc\ndef f(x):\n"
    "    return 2 if any('assert candidate' in o for o in gc.get_objects() if type(o) is str) else x",
    "looks_up_the_stack": "import sys\ndef f(x):\n    frame, names = sys._getframe(), set()\n"
    "    while frame: names |= set(frame.f_locals) | set(frame.f_globals); frame = frame.f_back\n"
    "    return 2 if 'nonce' in names or 'check' in names else x",
    "raises_what_a_test_may_catch": "def f(x): raise AssertionError",
}


@pytest.mark.parametrize("source", TRICKS.values(), ids=TRICKS)
def test_no_trick_passes_a_test(sandbox: Sandbox, source: str) -> None:
    assert check(sandbox, source) not in (Verdict.ACCEPTED, None)


def test_numbers_are_equal_as_python_has_it(sandbox: Sandbox) -> None:
    test = "def check(candidate):\n    assert candidate(0) == 2\n    assert candidate(1) == True\n"
    assert check(sandbox, "def f(x): return 2.0 if x == 0 else 1", test) is Verdict.ACCEPTED


def test_a_test_may_expect_an_exception(sandbox: Sandbox) -> None:
    test = (
        "def check(candidate):\n    try:\n        candidate(0)\n    except ZeroDivisionError:\n        return\n"
        "    assert False\n"
    )
    assert check(sandbox, "def f(x): return 1 / x", test) is Verdict.ACCEPTED
    assert check(sandbox, "def f(x): return 1", test) is Verdict.WRONG


SORTS = (
    "def check(candidate):\n    a, b = [3, 1], [2, 1]\n    candidate(a, x=b)\n    assert (a, b) == ([1, 3], [1, 2])\n"
)
BY_REFERENCE = {
    "sorts": ("def f(y, x):\n    y.sort()\n    x.sort()", Verdict.ACCEPTED),
    "sorts_one": ("def f(y, x):\n    y.sort()", Verdict.WRONG),
    "assigns": ("def f(y, x):\n    y, x = sorted(y), sorted(x)", Verdict.WRONG),
    "sorts_and_answers": ("def f(y, x):\n    y.sort()\n    x.sort()\n    return y", Verdict.WRONG),
    "forges": (FORGE.format("b'V'", 'b\'["changed",0,["t",1,3]]\'').replace("f(x)", "f(y, x)"), Verdict.WRONG),
    "forges_a_place": (FORGE.format("b'V'", 'b\'["changed",7,["l"]]\'').replace("f(x)", "f(y, x)"), Verdict.WRONG),
}


@pytest.mark.parametrize(("source", "verdict"), BY_REFERENCE.values(), ids=BY_REFERENCE)
def test_a_function_that_gives_nothing_may_change_its_arguments(
    sandbox: Sandbox, source: str, verdict: Verdict
) -> None:
    """With an answer it may not: a test may compare that with them."""
    assert check(sandbox, source, SORTS) is verdict


def test_what_is_given_out_item_by_item_can_be_gone_through(sandbox: Sandbox) -> None:
    test = "def check(candidate):\n    assert list(candidate(1)) == [1, 2]\n    assert candidate(1) != [1, 2]\n"
    assert check(sandbox, "def f(x):\n    yield 1\n    yield 2", test) is Verdict.ACCEPTED
    assert check(sandbox, "def f(x): return map(int, '12')", test) is Verdict.ACCEPTED
    assert check(sandbox, "def f(x): return range(1, 4)", test) is Verdict.WRONG


def test_helpers_of_the_prompt_are_there_for_the_test(sandbox: Sandbox) -> None:
    stub = "def double(x): return 2 * x\n\ndef f(x):\n    'Undo double.'\n"
    tests = [stub, "def check(candidate):\n    assert candidate(double(4)) == 4\n", "check(f)"]
    assert sandbox.check(["def f(x): return x // 2"], tests, ["f"], BUDGET).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "test",
    [
        "def check(candidate):\n    undefined\n",
        "def check(candidate):\n    candidate(1)\n    candidate([object()])\n",
        "def",
        "assert False",
    ],
    ids=["undefined_name", "argument_that_cannot_cross", "no_python", "fails_before_any_call"],
)
def test_a_test_that_no_program_can_pass_is_a_faulty_test(sandbox: Sandbox, test: str) -> None:
    with pytest.raises(FaultyTest):
        check(sandbox, RIGHT, test)
    assert check(sandbox, RIGHT) is Verdict.ACCEPTED  # and the next one is fine


def test_a_test_that_never_ends_is_stopped(sandbox: Sandbox) -> None:
    assert check(sandbox, RIGHT, "def check(candidate):\n    while candidate(1): pass\n", SHORT) is Verdict.TIME_LIMIT


@EVERY_LEVEL
def test_a_program_finds_nothing_of_the_one_before(sandbox: Sandbox) -> None:
    run(sandbox, "open('note', 'w').write('x')\nimport builtins, math\nbuiltins.print = math.pi = None")
    assert run(sandbox, "import os\nprint(os.listdir('.'), math.pi > 3)") == (None, "[] True\n")
