"""Checks of IFBench that AI2 has corrected since the package if-verifiable copied them.

Read in allenai/IFBench at its state of August 2026 (ifbench/instructions.py); written anew. A sentence is what NLTK's
tokenizer says, `word` and position count without punctuation or case, a name or keyword is a whole word, and a span is
one of characters.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any

PRONOUNS = frozenset(
    {
        *("i", "me", "we", "us", "you", "he", "him", "she", "her", "it", "they", "them"),
        *("my", "mine", "our", "ours", "your", "yours", "his", "hers", "its", "their", "theirs"),
        *("myself", "ourselves", "yourself", "yourselves", "himself", "herself", "itself", "themselves"),
        *("this", "that", "these", "those", "who", "whom", "whose", "which", "what"),
        *("whoever", "whomever", "whatever", "whichever"),
        *("anybody", "anyone", "anything", "everybody", "everyone", "everything"),
        *("nobody", "nothing", "somebody", "someone", "something"),
        *("each", "either", "neither", "both", "all", "some", "any", "none"),
    }
)


def words_of(text: str) -> list[str]:
    """The tokens of a text, punctuation among them."""
    import nltk

    return list(nltk.word_tokenize(text))


def sentences_of(text: str) -> list[str]:
    """The sentences of a text."""
    import nltk

    return list(nltk.sent_tokenize(text))


def _keyword_in_sentence(checker: Any, text: str) -> bool:
    sentences, at = sentences_of(text), int(checker._keyword_position)
    return len(sentences) >= at and _holds_word(sentences[at - 1], checker._keyword, re.IGNORECASE)


def _holds_word(text: str, word: str, flags: int = 0) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, flags) is not None


def _keyword_at_place(checker: Any, text: str) -> bool:
    sentences, sentence, word = sentences_of(text), int(checker._n), int(checker._m)
    if len(sentences) < sentence:
        return False
    words = [token for token in words_of(sentences[sentence - 1]) if any(map(str.isalnum, token))]
    return len(words) >= word and words[word - 1].lower() == checker._keyword.lower()


def _second_and_second_to_last(checker: Any, text: str) -> bool:
    words = words_of(text)
    # A full stop at the end is not a word; more than one token of it is not foreseen there.
    last = 3 if words and words[-1] in string.punctuation else 2
    keyword: str = checker._keyword.lower()
    return len(words) >= last and words[1].lower() == words[-last].lower() == keyword


def _person_names(checker: Any, text: str) -> bool:
    # The names stand in the description that the check gives of itself.
    names = checker._description_pattern.rpartition(": ")[2].rstrip(" .").split(", ")
    return bool(sum(_holds_word(text, name) for name in set(names)) >= checker._num_person_names)


def _pronouns(checker: Any, text: str) -> bool:
    # "she/her" are two.
    return bool(sum(word in PRONOUNS for word in words_of(text.replace("/", " ").lower())) >= checker._num_pronouns)


def _quotes_explained(_: Any, text: str) -> bool:
    # Typographic quotes count, as in the first versions: that AI2's later code lets them pass looks like an accident.
    text = text.replace("\u201c", '"').replace("\u201d", '"').replace("'\"'", "")
    text = "".join(text.split())
    return '""' not in text and not text.strip(string.digits + string.punctuation.replace('"', "")).endswith('"')


def _span(checker: Any, text: str) -> bool:
    span = checker._prompt_to_repeat[int(checker._n_start) : int(checker._n_end) + 1]
    return bool(text.strip().lower() == span.strip().lower())


def _alphabet(_: Any, text: str) -> bool:
    sentences = sentences_of(text)
    # Each begins with a character other than white space.
    return [sentence.strip()[:1].lower() for sentence in sentences] == list(string.ascii_lowercase)


def _title_case(_: Any, text: str) -> bool:
    for word in words_of(text):
        first, rest = word[:1], word[1:]
        if first.isalpha() and first.islower() and (not rest or rest.islower() or rest.isupper()):
            return False
    return True


CHECKS: Mapping[str, Callable[[Any, str], bool]] = {
    "sentence:keyword": _keyword_in_sentence,
    "words:keywords_specific_position": _keyword_at_place,
    "words:words_position": _second_and_second_to_last,
    "count:person_names": _person_names,
    "count:pronouns": _pronouns,
    "format:quote_unquote": _quotes_explained,
    "repeat:repeat_span": _span,
    "custom:sentence_alphabet": _alphabet,
    "format:title_case": _title_case,
}
"""Instruction id -> whether a text follows it; the first argument is the package's check, with its arguments."""
