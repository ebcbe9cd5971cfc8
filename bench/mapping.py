"""The mapping engine beside the hand-written Python that does the same: same fields, same checks of each field, same
result, compared before anything is timed.

    python bench/mapping.py [--rounds K] [--full] [--json]

One document at least per kind: a row of a table (`caf.contacts_allocataires`), a JSON object
(`france_travail.statut_usager`), one of lists within lists (`ccas.suivi`), forms of what agents wrote (`sanction_rsa`),
of dates (`contrat_engagement`), of facts and decisions (`rendez_vous`).
XML is in `bench/read.py`, beside its own hand-written reader.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _by_hand
import _common

import mappings
from schemas.record import Fact, Record, Written

FOLDER = _common.ROOT / "mappings"
SANCTION = {
    "identifiant_consequence": "csq-fictive-1", "type_evenement": "VALID_SANCTION", "date_evenement": "2026-12-01",
    "type_consequence": "SUSP_RSA", "modalite_decision": "P", "montant": 30, "duree": 1,
}  # fmt: skip
TARGET = 1.3


def example(name: str) -> Any:
    return json.loads(Path(FOLDER / name).read_text())


def facts(name: str) -> dict[str, Fact]:
    return {path: Fact(value, "ccas", "example", "2026-11-01T00:00:00Z") for path, value in example(name).items()}


def same(engine: Record | Written, by_hand: Record | Written) -> bool:
    if isinstance(engine, Written) and isinstance(by_hand, Written):
        return (engine.document, engine.filled, sorted(engine.empty), engine.findings) == (
            by_hand.document, by_hand.filled, sorted(by_hand.empty), by_hand.findings,
        )  # fmt: skip
    assert isinstance(engine, Record)
    assert isinstance(by_hand, Record)
    return (engine.personnes[0].facts, engine.foyer, engine.key, engine.digest, engine.findings) == (
        by_hand.personnes[0].facts, by_hand.foyer, by_hand.key, by_hand.digest, by_hand.findings,
    )  # fmt: skip


def pairs() -> dict[str, list[tuple[Callable[[], Any], Callable[[], Any]]]]:
    """Each document as the engine and as hand-written code make it; the first pair is timed, all are compared."""
    contacts, statut = mappings.load("caf.contacts_allocataires"), mappings.load("france_travail.statut_usager")
    found: dict[str, list[tuple[Callable[[], Any], Callable[[], Any]]]] = {"read_contacts": [], "read_statut": []}
    for name in ("demandeur", "zeros_perdus"):
        row = example(f"caf/examples/contacts_allocataires/{name}.json")
        found["read_contacts"].append((partial(contacts.read, row), partial(_by_hand.read_contacts, row)))
    for name in ("inscrit", "inconnu"):
        told = example(f"france_travail/examples/statut_usager/{name}.json")
        found["read_statut"].append((partial(statut.read, told), partial(_by_hand.read_statut, told)))
    suivi, where = mappings.load("ccas.suivi"), {"organisme": "ccas", "nom_structure": "CCAS", "departement": "40"}
    for name in ("premier_rendez_vous_conjoint", "medium_inconnu"):
        told = example(f"ccas/examples/suivi/{name}.json")
        pair = partial(suivi.read, told, **where), partial(_by_hand.read_suivi, told, where)
        found.setdefault("read_suivi", []).append(pair)
    forms: list[tuple[str, Callable[..., Written], dict[str, Fact], dict[str, Any]]] = [
        ("sanction_rsa", _by_hand.write_sanction, {}, SANCTION),
        ("sanction_rsa", _by_hand.write_sanction, {}, {}),
        ("contrat_engagement", _by_hand.write_contrat,
         facts("france_travail/examples/contrat_engagement/signe.faits.json"), {}),
        ("rendez_vous", _by_hand.write_rendez_vous, facts("france_travail/examples/rendez_vous/premier.faits.json"),
         {"organisme_email": "accueil@exemple.invalid"}),
        ("rendez_vous", _by_hand.write_rendez_vous,
         facts("france_travail/examples/rendez_vous/sans_modalite.faits.json"), {}),
    ]  # fmt: skip
    for name, by_hand, current, context in forms:
        mapping = mappings.load(f"france_travail.{name}")
        pair = partial(mapping.write, current, context), partial(by_hand, current, context)
        found.setdefault(f"write_{name}", []).append(pair)
    return found


def times(engine: Callable[[], Any], by_hand: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """µs of each, best of alternating rounds."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for place, work in enumerate((engine, by_hand)):
            spent = _common.cpu_and_wall(lambda work=work: [work() for _ in range(500)])[0]
            best[place] = min(best[place], spent * 2000)
    return best[0], best[1]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    rounds = asked.rounds * (5 if asked.full else 1)
    ratios: dict[str, tuple[float, float | None, bool]] = {}
    figures: dict[str, float] = {}
    for name, documents in pairs().items():
        for engine, by_hand in documents:
            if not same(engine(), by_hand()):
                raise SystemExit(f"{name}: the hand-written code does not do the same")
        spent = times(*documents[0], rounds)
        ratios[name] = (spent[0] / spent[1], TARGET, False)
        figures |= {f"{name}_us": spent[0], f"{name}_by_hand_us": spent[1]}
    return _common.told("mapping", ratios, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=40)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
