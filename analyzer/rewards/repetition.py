"""repetition: a penalty for saying the same again.

    ngram_size: 3, max_penalty: -1.0    "so x so x so x so x"  ->  -0.666...: two of its six trigrams are different

The share of the n-grams of words that came before, times max_penalty; 0 for fewer words than an n-gram has.
Words are what white space divides, in lower case: open-r1's get_repetition_penalty_reward for English (1416fa0), after
appendix C.2 of "Demystifying Long Chain-of-Thought Reasoning in LLMs" (arXiv 2502.03373).
"""

from __future__ import annotations

from typing import Any

from analyzer.errors import ConfigError
from analyzer.rewards import Reward, register
from analyzer.schema import Score

MOST = 100  # words of an n-gram: memory grows with it


@register
class Repetition(Reward):
    """max_penalty times the share of repeated n-grams of words: 0 for none. Options: ngram_size, max_penalty."""

    name = "repetition"
    needs_gold = False
    expects = "a text"
    maximum = 0.0

    def __init__(self, *, ngram_size: int = 3, max_penalty: float = -1.0) -> None:
        """Raises ConfigError for a size that is none, and for a penalty above 0."""
        if isinstance(ngram_size, bool) or not isinstance(ngram_size, int) or not 1 <= ngram_size <= MOST:
            raise ConfigError(f"repetition: ngram_size must be 1 to {MOST}, not {ngram_size!r}")
        if isinstance(max_penalty, bool) or not isinstance(max_penalty, int | float) or not -1e9 <= max_penalty <= 0:
            raise ConfigError(f"repetition: max_penalty must be a number of at most 0, not {max_penalty!r}")
        self._size = ngram_size
        self._penalty = max_penalty

    def extract(self, response: str) -> float:
        """What the response earns."""
        words = response.lower().split()
        total = len(words) - self._size + 1
        if total < 1:
            return 0.0
        different = len(set(zip(*(words[start:] for start in range(self._size)), strict=False)))
        return (1 - different / total) * self._penalty + 0.0

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        return Score(answer)

    def answer_text(self, answer: Any) -> None:
        """Nothing: a penalty has no answer."""

    def present(self, ground_truth: Any) -> str:
        return ""
