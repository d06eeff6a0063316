"""Published rules for the choice of problems, as expressions: what each project keeps, where it says so, and its n.

Passes of a published n stand as shares, so that a rule can be applied at another n: 14 of 16 is `pass_rate <= 14 / 16`.
Which of them cannot be told apart at the n at hand is said when one is used.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.registry import unknown


class Pool(NamedTuple):
    """Problems that get a weight instead of being kept or dropped."""

    where: str
    weight: float


class Recipe(NamedTuple):
    """A rule that somebody trained with."""

    name: str
    where: str | None
    n: int | None  # samples per problem it was published with; None: any, or not said
    reference: str  # the paper or repository that states it
    sort: str | None = None
    takes: bool = False  # `sort` decides what --take keeps, and needs it; --sort may order the file otherwise
    pools: tuple[Pool, ...] = ()
    note: str = ""


_ONLINE = "own code, applied to each group while training"

RECIPES: tuple[Recipe, ...] = (
    Recipe("skywork", "1 <= passes <= num_scored - 1", 16, "Skywork-OR1 (arXiv 2505.22312), own code"),
    Recipe("polaris", "passes < num_scored", 8, "POLARIS (2025), own text"),
    Recipe("polaris_stage", "mean_reward <= 0.9", None, "POLARIS (2025), own text: between two stages of training"),
    Recipe(
        "dapo",
        "std_reward > 0",
        None,
        f"DAPO (arXiv 2503.14476), {_ONLINE}; the same in slime, OpenRLHF, open-instruct, tinker and SkyRL",
    ),
    Recipe("prime", "0.2 <= pass_rate <= 0.8", 40, "PRIME (arXiv 2502.01456) and prime-rl's hendrycks, own code"),
    Recipe("open_r1", "0.1 < pass_rate < 0.6", None, "huggingface/open-r1, own code"),
    Recipe("intellect_2", "pass_rate <= 0.5", None, "INTELLECT-2 (arXiv 2505.07291), own text"),
    Recipe("nemo_gym", "pass_rate <= 14 / 16", 16, "NVIDIA-NeMo/Gym, own code: at most 14 of 16"),
    Recipe("olmo_3", "pass_rate <= 0.625", 8, "Olmo 3 (arXiv 2512.13961), own text"),
    Recipe("llama_nemotron", "pass_rate < 0.75", None, "Llama-Nemotron (arXiv 2505.00949), own text"),
    Recipe("roll", "0.1 <= pass_rate <= 0.95", None, "alibaba/ROLL (arXiv 2506.06122), own code"),
    Recipe("mimo_vl", "passes > 0 and pass_rate <= 0.9", None, "MiMo-VL (arXiv 2506.03569), own text"),
    Recipe(
        "nemotron_3_super",
        "passes < num_scored",
        None,
        "Nemotron 3 Super (2026), docs: not always solved, sorted by difficulty",
        sort="-pass_rate",
    ),
    Recipe(
        "openresearcher",
        "1 / 6 <= pass_rate <= 4 / 6",
        6,
        "OpenResearcher (2026), data set card: 1 to 4 of 6",
        note="its other rule is --nearest 0.5 --take 1000",
    ),
    Recipe(
        "prime_rl_pools",
        None,
        None,
        "prime-rl (2026), own code: hard, normal and easy problems are drawn with these weights",
        pools=(Pool("pass_rate <= 0.25", 0.2), Pool("pass_rate <= 0.75", 1.0), Pool("pass_rate <= 1", 0.2)),
    ),
    Recipe(
        "informative",
        "flag == ''",
        None,
        "this program: the --take N problems whose groups of --group_size most likely hold passes and failures",
        sort="-informative@{group_size}",
        takes=True,
        note="needs --take",
    ),
)


def find(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError that lists the names and the nearest."""
    known = {recipe.name: recipe for recipe in RECIPES}
    if name not in known:
        raise unknown("recipe", name, known)
    return known[name]
