"""Finding tags such as `<answer>...</answer>` in a response, in linear time on any text."""

from __future__ import annotations

OPEN, CLOSE = "<answer>", "</answer>"


def last_tagged(response: str, tag: str = "answer") -> str | None:
    """What stands in the last `<tag>...</tag>`, stripped; None without one.

    Pairs are formed from the left, each opening tag with the next closing one. So the last pair ends at the last
    closing tag that has an opening one between itself and the closing tag before.
    """
    # From the end: the usual response has one pair, and a million opening tags cost one search.
    opening, closing = f"<{tag}>", f"</{tag}>"
    close = response.rfind(closing)
    while close >= 0:
        before = response.rfind(closing, 0, close)
        start = response.find(opening, 0 if before < 0 else before + len(closing), close)
        if start >= 0:
            return response[start + len(opening) : close].strip()
        close = before
    return None
