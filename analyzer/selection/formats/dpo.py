"""dpo: {prompt, chosen, rejected}, a passing and a failing response of one problem, as TRL's DPOTrainer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzer.selection.formats import register
from analyzer.selection.formats._responses import Response, ResponseFormat


@register
class Dpo(ResponseFormat):
    """The first passing with the first failing response, the second with the second: no response is in two pairs."""

    name = "dpo"
    reads = "TRL DPOTrainer: prompt, chosen (passing), rejected (failing)"

    def fields(self) -> dict[str, bool]:
        return {"chosen": True, "rejected": True}

    def examples(self, passing: Sequence[Response], failing: Sequence[Response]) -> list[tuple[Any, ...]]:
        pairs = zip(passing, failing, strict=False)  # the shorter list ends it
        return [(chosen.text, rejected.text) for chosen, rejected in pairs if chosen.text != rejected.text]
