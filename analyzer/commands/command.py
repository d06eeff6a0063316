"""A command: its settings, what --help says of it, and what it does; the same shape for all of them.

COMMAND = Command("select_problems", "analyzer.config:SelectionSettings", ..., call=_select)
COMMAND.main(["--analysis", "analysis", "--output", "train.parquet"])      # the exit code
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.commands import lists
from analyzer.commands.parsing import parse
from analyzer.commands.running import run
from analyzer.errors import EXIT_OK, ConfigError

_WIDTH = 76  # of the lines of an example
_NEW_OBJECTS = 20_000  # from one collection of garbage to the next; Python's own number is 700


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command. `call` takes the settings and returns the exit code."""

    name: str  # as the script is named; the console command has dashes
    settings: type[Any]
    summary: str  # one line, for the list of commands
    description: str
    example: str  # flags, of which all that are required are there
    call: Callable[[Any], int]
    ahead: Callable[[Any], AbstractContextManager[object]] = nullcontext  # other processes, while this one imports
    unscored: str = ""  # when it exits with 3
    resumes: bool = False  # the same command goes on after an interruption
    adjust: Callable[[Sequence[str]], Sequence[str]] = list  # words that the parser would misread

    def main(self, argv: Sequence[str] | None) -> int:
        """Run the command with these words, or those of the process; returns the exit code."""
        words = self.adjust(sys.argv[1:] if argv is None else argv)
        # Before the parser: a list needs none of the flags that are required.
        if (flag := lists.asked_for(words, self.settings)) is not None:
            return run(lambda: lists.show(flag))
        prog = called_as(self.name)

        def call() -> int:
            settings = parse(self.settings, words, prog, self.description, self.epilog(prog))
            from analyzer.commands.unused import notes  # not needed for --help

            try:
                os.getcwd()
            except FileNotFoundError:
                raise ConfigError("the working directory was removed: change to one that exists") from None
            for note in notes(settings):
                print(note, file=sys.stderr)
            if argv is None:
                # Before arrow is loaded, here and in the workers. Its allocator gives freed memory back after 10 ms
                # and takes it again for the next row group, cleared by the kernel: a seventh of the CPU of writing.
                os.environ.setdefault("MIMALLOC_PURGE_DELAY", "10000")
            with self.ahead(settings):
                if argv is None:  # the words of the process itself: nothing else runs in it that could want pandas
                    from analyzer.workers import processes

                    processes.hide_pandas_from_arrow()
                return self.call(settings)

        if argv is not None:
            return run(call)
        # A small run mostly makes objects that stay, modules above all: each look at them for garbage is in vain. Older
        # ones are looked at after 5 collections instead of 10, so that garbage among them does not wait much longer.
        gc.set_threshold(_NEW_OBJECTS, 5, 5)
        try:
            return run(call)
        finally:
            gc.freeze()  # nor does Python then look at all of them three times while it ends, a tenth of a second

    def epilog(self, prog: str) -> str:
        """What --help ends with: an example and the exit codes."""
        codes = ["0   done", "1   a bug of this program", "2   wrong flag, setting or input: one line says which"]
        codes += [f"3   {self.unscored}"] if self.unscored else []
        codes += ["74  disk full, or another I/O error"]
        codes += [f"75  interrupted{'; the same command resumes' if self.resumes else ''}"]
        lines = [f"  {prog}"]
        for flag in [f"--{part}" for part in self.example.removeprefix("--").split(" --")]:
            if len(lines[-1]) + len(flag) > _WIDTH:
                lines[-1] += " \\"
                lines.append("     ")
            lines[-1] += f" {flag}"
        return "\n".join(["example:", *lines, "", "exit codes:", *(f"  {code}" for code in codes)])


def called_as(name: str) -> str:
    """How the command with this name was called: scripts/x.py, x-y, or python -m analyzer x."""
    name, space, sub = name.partition(" ")  # `analyze_rollouts cache`
    called = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path(name)
    if called.parts[-2:] == ("analyzer", "__main__.py"):
        words = f"python -m analyzer {name}"
    elif called.stem.replace("-", "_") != name:
        words = name.replace("_", "-")  # called from Python
    elif called.suffix != ".py":
        words = called.name
    else:
        try:
            near = os.path.relpath(called)
        except FileNotFoundError:  # the working directory was removed
            near = os.pardir
        words = f"python {called if near.startswith(os.pardir) else near}"
    return words + space + sub


def listing(commands: Sequence[Command]) -> int:
    """Print what commands there are; returns the exit code."""
    width = max(len(command.name) for command in commands)
    print("usage: python -m analyzer COMMAND [flags]\n\ncommands:")
    for command in commands:
        print(f"  {command.name:{width}}  {command.summary}")
    print(f"  {'sample':{width}}  copy the bundled sample and its recipes into a folder")
    print(f"  {'completion':{width}}  shell completion for bash, zsh or fish")
    print("\nEach command has --help. docs/flags.md lists all flags.")
    return EXIT_OK
