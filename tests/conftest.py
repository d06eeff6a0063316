"""What all tests share: where real rollouts lie when they are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A function from a name below ../shared to its path; it skips the test, with the reason, where it is absent."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / name
        if not path.exists():
            pytest.skip(f"needs the real rollouts of ../shared/{name}")
        return path

    return find
