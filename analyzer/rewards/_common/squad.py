"""SQuAD's normalisation of short answers: lower case, no punctuation, no articles, single spaces.

Rajpurkar et al. 2016, the evaluation script of SQuAD 1.1; verl 0.9.1 has the same in
utils/reward_score/search_r1_like_qa_em.py.
"""

from __future__ import annotations

import re
import string

PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only: a typographic quote stays
ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """The text as SQuAD compares it. Linear in its length.

    normalise("The  Eiffel-Tower!")  ->  "eiffeltower"
    """
    # The order is the script's: punctuation goes without a space ("U.S." is "us"), articles leave one.
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())
