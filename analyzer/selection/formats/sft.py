"""sft: {prompt, completion} of passing responses, as TRL's SFTTrainer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzer.selection.formats import register
from analyzer.selection.formats._responses import Response, ResponseFormat


@register
class Sft(ResponseFormat):
    """Rejection sampling: what passed is learnt."""

    name = "sft"
    reads = "TRL SFTTrainer: prompt, completion (passing responses)"

    def fields(self) -> dict[str, bool]:
        return {"completion": True}

    def examples(self, passing: Sequence[Response], failing: Sequence[Response]) -> list[tuple[Any, ...]]:
        return [(response.text,) for response in passing]
