"""Generation: training prompts -> rollouts, from a server or a local model.

    open (prompts) -> resume or begin (state, journal) -> ask (server | local) -> write in order (writer)

From Python::

    from analyzer.generation import GenerationSettings, generate
    path = generate(GenerationSettings(data_path="train.parquet", output_path="rollouts.parquet", use_vllm=True))
"""

from analyzer.generation.pipeline import Generated, generate, run
from analyzer.generation.settings import GenerationSettings

__all__ = ["Generated", "GenerationSettings", "generate", "run"]
