"""kto: {prompt, completion, label}, passing and failing responses, as TRL's KTOTrainer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzer.selection.formats import register
from analyzer.selection.formats._responses import Response, ResponseFormat


@register
class Kto(ResponseFormat):
    """`label` is true for a passing response; KTO needs no pairs."""

    name = "kto"
    reads = "TRL KTOTrainer: prompt, completion, label (true: passing, false: failing)"

    def fields(self) -> dict[str, bool]:
        return {"completion": True, "label": False}

    def examples(self, passing: Sequence[Response], failing: Sequence[Response]) -> list[tuple[Any, ...]]:
        return [(r.text, True) for r in passing] + [(r.text, False) for r in failing]
