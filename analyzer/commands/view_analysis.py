"""view_analysis: the report of an analysis made again, all its text in a browser, or some of it in the terminal."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.commands.command import Command
from analyzer.config import ViewSettings
from analyzer.errors import EXIT_OK, ConfigError, Interrupted
from analyzer.files import storage

if TYPE_CHECKING:
    from analyzer.report.analysis import Analysis


def view_analysis(argv: Sequence[str] | None = None) -> int:
    """The command view_analysis; returns its exit code."""
    return COMMAND.main(argv)


def _with_long_n(words: Sequence[str]) -> list[str]:
    """-n 3 and -n3, as head and tail take it: the parser knows long flags only."""
    return [re.sub(r"^-n(\d*)$", lambda n: f"--n={n[1]}" if n[1] else "--n", word) for word in words]


def _view(settings: ViewSettings) -> int:
    from analyzer.report import write_report
    from analyzer.report.analysis import WITHOUT_ROLLOUTS, Analysis

    if settings.show is not None and settings.report_only:
        raise ConfigError("--show and --report_only: give one")
    if storage.is_remote(settings.analysis):
        raise ConfigError(f"--analysis {settings.analysis}: copy the folder to this machine first")
    analysis = Analysis(Path(storage.local(settings.analysis)))
    _ = analysis.summary  # raises InputError where the folder holds no analysis: that is to be said first
    if settings.show is None and analysis.rollouts is None:
        print(f"no responses to show: {WITHOUT_ROLLOUTS}", file=sys.stderr)
    if settings.show is not None:
        from analyzer.report.terminal import show

        for line in show(analysis, settings.show, settings.n, settings.seed):
            print(line)
    elif settings.report_only:
        with storage.storage_errors(settings.analysis):
            print(f"Written: {write_report(analysis.folder, seed=settings.seed)}")
    else:
        _serve(analysis, settings)
    return EXIT_OK


def _serve(analysis: Analysis, settings: ViewSettings) -> None:
    """Serve until Ctrl-C, which is how it is meant to end."""
    from analyzer.report.viewer import Viewer

    with Viewer(analysis, settings.port, settings.seed) as viewer:
        try:
            print(viewer.url, flush=True)  # from here on somebody may press Ctrl-C
            # The viewer listens on this host alone; over SSH the user's browser needs a tunnel to it.
            if connection := os.environ.get("SSH_CONNECTION", "").split():
                host = connection[2] if len(connection) == 4 else "THIS_HOST"
                tunnel = f"ssh -N -L {viewer.port}:127.0.0.1:{viewer.port} {getpass.getuser()}@{host}"
                print(f"On your own machine run `{tunnel}`, then open the address there.", file=sys.stderr)
            print("Press Ctrl-C to stop.", file=sys.stderr, flush=True)
            viewer.serve_forever()
        except Interrupted:
            print("stopped", file=sys.stderr)


COMMAND = Command(
    name="view_analysis",
    settings=ViewSettings,
    summary="look at an analysis in a browser or in the terminal",
    description="Look at an analysis in a browser, with all problems and all responses: prints the address of a viewer "
    "on this machine. --show prints problems in the terminal, --report_only writes report.html again.",
    example="--analysis analysis --show hard -n 5",
    call=_view,
    adjust=_with_long_n,
)
