"""The commands: their flags, what they print, and the code they end with."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from analyzer.commands import formats, reward_list
from analyzer.config import AnalysisSettings, parse
from analyzer.errors import EXIT_BUG, EXIT_OK, EXIT_STORAGE, EXIT_UNSCORED, EXIT_USER, AnalyzerError, printable
from analyzer.files.storage import is_disk_error
from analyzer.workers.interrupts import interruptible

if TYPE_CHECKING:
    from analyzer.generation import GenerationSettings
    from analyzer.result import Result

Settings = TypeVar("Settings")

DESCRIPTION = (
    "Score rollouts, measure how hard each problem is for this policy, and put problems into buckets. "
    "'analyze_rollouts cache' lists what is cached from earlier runs."
)
GENERATE_DESCRIPTION = "Sample rollouts for the prompts of training data. Run it again to go on where it stopped."
FILTER_DESCRIPTION = (
    "Generate rollouts for training data, analyse them, and select the problems to train on: one command for all three."
)
_MAY_BEGIN_WITH_MINUS = ("--sort", "--where")


def analyze_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command analyze_rollouts; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["cache"]:
        from analyzer.commands import cache

        return run(lambda: cache.main(argv[1:]))
    if formats.is_asked(argv):
        return run(_list_formats)
    if reward_list.is_asked_for(argv):
        return run(_list_rewards)
    return run(lambda: _analyze(parse(AnalysisSettings, argv, "analyze_rollouts", DESCRIPTION)))


def _list_formats() -> int:
    print(formats.listing())
    return EXIT_OK


def generate_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command generate_rollouts; returns its exit code."""
    from analyzer.generation.settings import GenerationSettings

    argv = sys.argv[1:] if argv is None else argv
    return run(lambda: _generate(parse(GenerationSettings, argv, "generate_rollouts", GENERATE_DESCRIPTION)))


def _generate(settings: GenerationSettings) -> int:
    if settings.dry_run:
        from analyzer.commands.preview import preview

        print(preview(settings))
        return EXIT_OK
    from analyzer import generation

    done = generation.run(settings)
    print(f"Prompts: {done.prompts}\nRollouts: {done.rollouts} ({done.asked} generated now)\nModel: {done.model}")
    print(f"{done.path}: {done.complete}; nothing was asked" if done.complete else f"Written: {done.path}")
    if not done.failed:
        return EXIT_OK
    print(
        f"error: {done.failed} prompts lack rollouts, {done.failures} lists them ({done.first_failure}); "
        + again(done.failed, done.unusable),
        file=sys.stderr,
    )
    return EXIT_UNSCORED


def again(failed: int, unusable: int) -> str:
    """What to do about prompts that lack rollouts; `unusable` of them no server can be asked."""
    if not unusable:
        return "the same command tries them again"
    correct = "correct them in the training data and generate anew (--overwrite, or another --output_path)"
    if unusable == failed:
        return f"no model can be asked these prompts: {correct}"
    return f"the same command tries {failed - unusable} of them again; no model can be asked the others: {correct}"


def filter_difficulty(argv: Sequence[str] | None = None) -> int:
    """The command filter_difficulty; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run(_list_rewards if reward_list.is_asked_for(argv) else lambda: _filter(argv))


def minus_joined(argv: Sequence[str]) -> list[str]:
    """`--sort -pass_rate` as `--sort=-pass_rate`: the parser takes a word with a minus for a flag."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in _MAY_BEGIN_WITH_MINUS and word.startswith("-") and not word.startswith("--"):
            words[-1] += "=" + word
        else:
            words.append(word)
    return words


def _list_rewards() -> int:
    print("\n".join(reward_list.lines()))
    return EXIT_OK


def _filter(argv: Sequence[str]) -> int:
    from analyzer.commands import filtering
    from analyzer.commands.preview import preview

    settings: Any = parse(filtering.FilterSettings, minus_joined(argv), "filter_difficulty", FILTER_DESCRIPTION)
    if settings.dry_run and settings.rollouts is None:
        print(preview(filtering.generation_settings(settings)))
        return EXIT_OK
    if settings.dry_run or settings.explain_cache:
        return _analyze(filtering.analysis_settings(settings, settings.rollouts))
    result, failed, unusable, selection = filtering.filter_difficulty(settings)
    code = _shown(result)
    if selection is not None:
        from analyzer.selection.select import select

        print(select(selection).report, end="", flush=True)
    if failed:
        print(f"error: {failed} prompts lack rollouts; {again(failed, unusable)}", file=sys.stderr)
        return EXIT_UNSCORED
    return code


def _analyze(settings: AnalysisSettings) -> int:
    from analyzer import pipeline

    if settings.dry_run or settings.explain_cache:
        print("\n".join(pipeline.explain(settings)))
        return EXIT_OK
    result = pipeline.analyze(settings)
    if result is None:
        print(f"part {settings.part} is scored", file=sys.stderr)
        return EXIT_OK
    return _shown(result)


def _shown(result: Result) -> int:
    """Print the summary; returns the exit code."""
    print(result.summary.to_text(), end="", flush=True)
    print(result.summary.remarks(), end="", file=sys.stderr)
    if result.exit_code != EXIT_OK:
        print(
            f"error: {result.summary.unscored_share:.2%} of the rollouts have no reward, more than --max_unscored "
            f"{result.max_unscored:.2%}; all outputs are written",
            file=sys.stderr,
        )
    return result.exit_code


def run(command: Callable[[], int]) -> int:
    """Call a command; an error becomes one line on stderr and its exit code, a bug a traceback and exit 1."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or file that cannot show a character must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        with interruptible():
            code = command()
            sys.stdout.flush()
            return code
    except AnalyzerError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, `| head` for instance
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        if is_disk_error(error) or "No usable temporary directory" in str(error):
            print(f"error: {_of_the_system(error)}", file=sys.stderr)
            return EXIT_STORAGE
        if error.errno in (errno.EMFILE, errno.ENFILE):
            print(f"error: {_TOO_FEW_FILES}", file=sys.stderr)
            return EXIT_USER
        if isinstance(error, FileNotFoundError) and "/runs/" in str(error.filename):
            print(f"error: {error.filename}: the cache was removed meanwhile; run the command again", file=sys.stderr)
            return EXIT_USER
        return _bug()
    except ImportError as error:
        if (package := (error.name or "").partition(".")[0]) in ("", "analyzer", *sys.stdlib_module_names):
            return _bug()
        print(f"error: {printable(_cannot_import(package, error))}", file=sys.stderr)
        return EXIT_USER
    except Exception:  # noqa: BLE001  # the last line of defence: what gets here is a bug of ours
        return _bug()


_TOO_FEW_FILES = "too many open files: allow 256 or more, `ulimit -n 1024`, and run the same command again"


def _of_the_system(error: OSError) -> str:
    """An error of the disk that names no output of ours: a temporary file, or what stdout is redirected to."""
    if "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written to; name one that can with the environment variable TMPDIR"
    where = error.filename or "writing to stdout or to a temporary file"
    return f"{where}: {error.strerror or error}"


def _open_closed_streams() -> None:
    """Open stdin, stdout and stderr on /dev/null where they are closed: the next file would take their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _cannot_import(package: str, error: ImportError) -> str:
    """What to do where the Python that runs this lacks a package, or has one that does not work."""
    what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    checkout = Path(__file__).parents[2]
    remedy = f"install {package} there, or what it lacks"
    if (checkout / "Makefile").is_file():
        remedy = f"`make setup` in {checkout} creates one that does, .venv/bin/python"
    return f"the Python package {package} {what} for {sys.executable}, which lacks what this program needs; {remedy}"


def _bug() -> int:
    traceback.print_exc()
    print("error: this is a bug of rollout-analyzer; please report it with the lines above", file=sys.stderr)
    return EXIT_BUG
