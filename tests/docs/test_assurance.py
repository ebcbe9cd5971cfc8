"""Every numbered check is in the table of assurance, with tests that exist and a result of theirs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import assurance  # noqa: E402


def test_every_number_has_a_test_or_a_written_reason() -> None:
    remarks = assurance.tomllib.loads(assurance.REMARKS.read_text(encoding="utf-8"))
    assert [number for number, tests in assurance.numbered().items() if not tests and number not in remarks] == []
    assert set(remarks) <= set(assurance.numbered())


def test_the_page_names_each_number_and_each_of_its_tests() -> None:
    page = assurance.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| (\w-\d+) \|", page, re.MULTILINE) == [
        number for number, tests in assurance.numbered().items() for _ in tests or [""]
    ]
    assert set(assurance.read_back()) == {test for tests in assurance.numbered().values() for test in tests}


def test_each_result_of_the_page_is_a_run_that_passed() -> None:
    """A check that failed is mended; one that was not run has a remark that says why."""
    remarks = assurance.tomllib.loads(assurance.REMARKS.read_text(encoding="utf-8"))
    ran = assurance.read_back()
    assert [test for test, one in ran.items() if "failed" in one.result] == []
    tests = assurance.numbered().items()
    assert {number for number, ones in tests for one in ones if not ran[one].date} <= set(remarks)


RUN = """<testsuites><testsuite timestamp="2026-02-03T04:05:06">
<testcase classname="tests.a.test_b" name="test_f_1_x[one]">
  <properties><property name="seed" value="7"/></properties>
</testcase>
<testcase classname="tests.a.test_b" name="test_f_1_x[two]"><failure message="m"/></testcase>
<testcase classname="tests.a.test_b" name="test_f_2_y"><skipped message="no server"/></testcase>
</testsuite></testsuites>"""


def test_a_run_is_read_by_test_with_its_seed_failures_and_reasons(tmp_path: Path) -> None:
    (tmp_path / "run.xml").write_text(RUN)
    ran = assurance.results([tmp_path / "run.xml"])
    assert ran["tests/a/test_b.py::test_f_1_x"] == assurance.Ran("1 passed, 1 failed, seed 7", "2026-02-03")
    assert ran["tests/a/test_b.py::test_f_2_y"] == assurance.Ran("1 skipped (no server)", "2026-02-03")
