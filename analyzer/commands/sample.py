"""python -m analyzer sample FOLDER: the bundled sample and the recipes of configs/, for whoever has no checkout.

python -m analyzer sample .
analyze-rollouts --config configs/percentile.yaml
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from analyzer.commands.running import fail, run
from analyzer.errors import EXIT_OK, EXIT_USER, ConfigError, OutputError, StorageError
from analyzer.files import storage

_SHARE = "share/rollout-analyzer/"  # where a wheel puts them, in the folder of its environment
_FOLDERS = ("configs", "examples/sample")


def copy(words: Sequence[str]) -> int:
    """Copy the sample into the folder that the words name; returns the exit code."""
    if len(words) != 1 or words[0].startswith("-"):
        fail("name the folder to copy the sample and its recipes into: python -m analyzer sample .")
        return EXIT_USER
    return run(lambda: _copy(Path(words[0])))


def _copy(folder: Path) -> int:
    found = list(_files())
    if not found:
        raise ConfigError(
            "this installation of rollout-analyzer has no sample; install it from its wheel or its checkout"
        )
    if there := [str(folder / name) for name, _ in found if (folder / name).exists()]:
        raise OutputError(f"{there[0]} already exists; name another folder")
    copied = list[Path]()
    try:
        for name, source in found:
            storage.make_folder((folder / name).parent)
            copied.append(folder / name)
            with storage.storage_errors(folder / name):
                # Not copyfile: its error names the file that is read, and not the one that has no room.
                (folder / name).write_bytes(source.read_bytes())
    except StorageError:
        for path in copied:
            path.unlink(missing_ok=True)
        raise
    change = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    print(f"{len(found)} files in {folder}: configs/ and examples/sample/")
    print(f"Next: {change}analyze-rollouts --config configs/percentile.yaml")
    return EXIT_OK


def _files() -> Iterator[tuple[PurePosixPath, Path]]:
    """The files by the name that each gets: of the checkout, or of what pip installed."""
    checkout = Path(__file__).parents[2]
    if (checkout / "setup.cfg").is_file():
        for path in sorted(path for folder in _FOLDERS for path in (checkout / folder).rglob("*") if path.is_file()):
            yield PurePosixPath(path.relative_to(checkout).as_posix()), path
        return
    for file in importlib.metadata.distribution("rollout-analyzer").files or ():
        _, mark, name = file.as_posix().partition(_SHARE)
        if mark:
            yield PurePosixPath(name), Path(str(file.locate()))
