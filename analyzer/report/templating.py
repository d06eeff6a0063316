"""templating: what the pages have in common: templates, their filters, assets, and the names of styles."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import numpy as np

from analyzer.errors import counted, percentage
from analyzer.report.harmless import visible

# Of the five steps of the style sheet: the hardest and the easiest bucket look the same however many lie between.
_COLOURS = {2: (0, 4), 3: (0, 2, 4), 4: (0, 1, 3, 4), 5: (0, 1, 2, 3, 4)}


def digest(text: str) -> str:
    """What a content security policy knows a script or a style by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def asset(name: str) -> str:
    """A file of the page, as text."""
    return (resources.files("analyzer.report") / "page" / name).read_text(encoding="utf-8")


@functools.cache
def templates() -> Any:
    """The templates of the pages, everything escaped."""
    import jinja2

    # StrictUndefined: a name that is misspelt in a template is an error in the tests and no gap on the page.
    templates = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    templates.filters.update(percent=percent, count=count, visible=visible, date=date, plural=counted)
    return templates


def layout() -> Any:
    """The template of the report; to import jinja2 and compile it takes 70 ms, once."""
    return templates().get_template("report.html.j2")


def percent(share: float | None, digits: int = 1) -> str:
    """A share for a person: 0.12345 -> '12.3 %', nothing measured -> a dash."""
    return "–" if share is None or np.isnan(share) else percentage(share, digits).replace("%", " %")


def count(number: float | None) -> str:
    """A count for a person, thousands apart."""
    return "–" if number is None else f"{number:,.0f}"


def date(iso: object) -> str:
    """A time for a person: '2026-11-30T04:29:26+00:00' -> '2026-11-30 04:29 UTC'; other text as it is."""
    try:
        return datetime.fromisoformat(str(iso)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(iso)


def bucket_styles(names: Sequence[str]) -> dict[str, str]:
    """A class of the style sheet for each bucket, hardest first; colours that colour-blind readers can tell apart."""
    ordered = [name for name in names if name != "unscored"]
    places = _COLOURS.get(len(ordered), tuple(min(at, 4) for at in range(len(ordered))))
    return {name: f"b{place}" for name, place in zip(ordered, places, strict=False)} | {"unscored": "bx"}
