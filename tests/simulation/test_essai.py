"""A file tried on the console's page, then applied: what cuts an application short leaves it to be decided again."""

from __future__ import annotations

import time
from pathlib import Path

from connectors.caf.generator import write_file
from gateway import journal
from gateway.registry import Gateway
from gateway.trial import MOVING, Trial, Trials
from tests.simulation.test_quarantaine import DOCUMENT, landes

__all__ = ["landes"]


def ended(trials: Trials, id: str) -> Trial:
    limit = time.monotonic() + 60
    while (one := trials.find(id)).state in MOVING:
        assert time.monotonic() < limit
        time.sleep(0.02)
    return one


def test_an_application_that_could_not_go_on_is_applied_again(landes: Gateway, tmp_path: Path) -> None:
    write_file(tmp_path / "flux.xml", 4, 3)
    trials = Trials(landes)
    with (tmp_path / "flux.xml").open("rb") as file:
        id = trials.receive("caf", DOCUMENT, file).id
    assert ended(trials, id).state == "tried"
    with landes.unit_of_work() as work:
        journal.append(work, "admin.setting", outcome="applied", object_ref=id)
    landes.settings.audit_tolerance = -60.0  # the journal is no longer sealed in time
    trials.apply(id)
    stopped = ended(trials, id)
    assert (stopped.state, stopped.code) == ("tried", "audit-unavailable")
    landes.settings.audit_tolerance = 86_400.0
    trials.apply(id)
    applied = ended(trials, id)
    assert (applied.state, applied.code, applied.counts["accepted"]) == ("applied", "", 4)
