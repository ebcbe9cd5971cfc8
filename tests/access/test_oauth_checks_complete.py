"""Every check of the OAuth profile has its test, by number."""

from __future__ import annotations

import re
from pathlib import Path


def test_each_number_has_a_test():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_oauth_checks_*.py"))
    tested = {int(number) for number in re.findall(r"^(?:async )?def test_o_(\d{3})_", text, re.MULTILINE)}
    assert tested == set(range(1, 113))
