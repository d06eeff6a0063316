"""Which test code is refused since its program, in a sandbox of its own, would not see what it does."""

from __future__ import annotations

import pytest

from analyzer.rewards.code.tests import refuse_one_sided
from analyzer.schema import GoldError

ONE_SIDED = (
    "open('a')",
    "import io\nio.open('a')",
    "import os\nos.mkdir('a')",
    "from os import makedirs\nmakedirs('a')",
    "from pathlib import Path\n(Path('a') / 'b').touch()",
    "from pathlib import Path\nplace = Path('a')\nplace.write_text('')",
    "import tempfile\ntempfile.mkdtemp()",
    "import time\ntime.sleep = print",
)
OF_ITS_OWN = (  # what the test is about, or a helper of it
    "assert candidate().open() == 1",
    "account.open(5)",
    "Solution().touch([1])",
    "def touch(x): return x\nassert touch(candidate(1))",
    "import math\nassert shop.open(math.pi)",
)


@pytest.mark.parametrize("source", ONE_SIDED)
def test_a_test_that_makes_files_or_replaces_what_its_program_does_not_see_is_a_gold_error(source: str) -> None:
    with pytest.raises(GoldError, match="does not see"):
        refuse_one_sided([source])


def test_functions_that_are_called_like_those_of_files_are_the_tests_own() -> None:
    for source in OF_ITS_OWN:
        refuse_one_sided([source])
