"""Reward functions of the user's own, called the way verl or TRL calls them."""

from analyzer.rewards.custom.reward import Custom, load_custom

__all__ = ["Custom", "load_custom"]
