"""provenance: where a result comes from, for provenance.json beside summary.json.

Paths, date, command, backend and machine change nothing in a result, so they have a file of their own, apart from the
bytes that every equal run repeats. Secret values are hidden, and so are all values of the user's own options.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import shlex
import sys

import orjson

from analyzer import __version__
from analyzer.cache import masking
from analyzer.config import AnalysisSettings
from analyzer.plan import Plan
from analyzer.rollouts.input import Input


def provenance(settings: AnalysisSettings, plan: Plan, opened: Input) -> bytes:
    """provenance.json."""
    given = {
        field.name: value
        for field in dataclasses.fields(settings)
        # What was given alone: defaults of another version would be taken for the user's choice.
        if (value := getattr(settings, field.name)) != field.default and value is not None
    }
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(masking.command(sys.argv)),
        "working_directory": os.getcwd(),
        "settings": masking.settings(given),
        "rollouts": [masking.text(path) for path in opened.paths],
        "model_path": settings.model_path,
        "policies": opened.policies(),
        "fingerprint": plan.fingerprint,
        "backend": {"name": settings.backend, "n_jobs": settings.n_jobs},
        "host": platform.node(),
        "python": sys.executable,
        "versions": {"rollout-analyzer": __version__, **plan.versions},
    }
    return orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n"
