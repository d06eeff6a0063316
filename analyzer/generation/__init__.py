"""Generation: training prompts -> rollouts, from a server or a local model.

    open (prompts) -> resume or begin (state, journal) -> ask (server | local) -> write in order (writer)

From Python::

    from analyzer.generation import GenerationSettings, generate
    path = generate(GenerationSettings(data_path="train.parquet", output_path="rollouts.parquet", use_vllm=True))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.generation.settings import GenerationSettings

if TYPE_CHECKING:
    from analyzer.generation.pipeline import Generated, generate, run

__all__ = ["Generated", "GenerationSettings", "generate", "run"]


def __getattr__(name: str) -> Any:
    """What needs numpy is imported when it is asked for, so that --help stays fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analyzer.generation import pipeline

    return getattr(pipeline, name)
