"""math_verify: mathematical equality as Math-Verify 0.9.0 decides it, in linear time and bounded memory."""

from analyzer.rewards.math_verify.reward import MathVerify

__all__ = ["MathVerify"]
