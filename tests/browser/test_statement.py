"""The accessibility statement says what the grid says."""

from __future__ import annotations

from gateway.console import statement


def test_the_grid_holds_each_criterion_once() -> None:
    themes = (9, 2, 3, 13, 8, 2, 5, 10, 4, 14, 13, 11, 12)
    wanted = [f"{theme}.{n}" for theme, count in enumerate(themes, 1) for n in range(1, count + 1)]
    rows = statement.grid()
    assert [row["criterion"] for row in rows] == wanted
    assert {row["result"] for row in rows} <= {"C", "NC", "NA", "NT"}
    assert all(row["evidence"] for row in rows)


def test_the_rate_counts_only_what_was_assessed_and_applies() -> None:
    rows = [{"result": one} for one in ("C", "C", "NC", "NA", "NT")]
    assert statement.rate(rows) == 67
    assert statement.rate([]) is None
