"""Scoring: the rollouts of one problem in, one `Score` for each out, whatever the reward does.

    with closing(Scorer(reward, Limits())) as scorer:
        scores = scorer.score(Problem("openai/gsm8k", "5"), ["#### 5", "#### 6", "#### 5"])   # two answers are graded
        [score.reward for score in scores]      # [1.0, 0.0, 1.0]

A failure of the scorer is a status on its own rollout, never a reward of 0 and never an exception. Only what would
happen to every rollout is raised: a reward that cannot be loaded (RewardError).
"""

from analyzer.scoring.scorer import Scorer, announce_rewards, end_rewards, start_rewards, starting, target_of
from analyzer.scoring.scores import checked, failure, shortened

__all__ = [
    "Scorer",
    "announce_rewards",
    "checked",
    "end_rewards",
    "failure",
    "shortened",
    "start_rewards",
    "starting",
    "target_of",
]
