"""The mapping engine beside the hand-written Python that does the same: same fields, same checks of each field, same
result, compared before anything is timed.

    python bench/mapping.py [--rounds K] [--full] [--json]

Read: one row of `caf.contacts_allocataires` (13 rows in the mapping). Write: `france_travail.sanction_rsa`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common

import mappings
from mappings import document
from mappings.grammar import Row
from mappings.types import Bad, codec
from schemas.record import Finding, PersonFacts, Record, Written

EXAMPLES = _common.ROOT / "mappings" / "caf" / "examples" / "contacts_allocataires"
ROLES = {
    "DEMANDEUR": "demandeur", "DEM": "demandeur", "CONJOINT": "conjoint", "CJT": "conjoint", "ENFANT": "enfant",
    "AUTRE": "autre", "RESPONSABLE DOSSIER": "responsable_dossier", "RDO": "responsable_dossier",
}  # fmt: skip
COLUMNS = frozenset({
    "matricule", "role personne", "type personne", "nir", "numero demande rsa", "date demande rsa",
    "date debut droits devoirs", "nom responsable dossier", "prenom responsable dossier", "numero telephone dossier",
    "numero telephone 2 dossier", "adresse electronique dossier",
})  # fmt: skip
SANCTION = {
    "identifiant_consequence": "csq-fictive-1", "type_evenement": "VALID_SANCTION", "date_evenement": "2026-12-01",
    "type_consequence": "SUSP_RSA", "modalite_decision": "P", "montant": 30, "duree": 1,
}  # fmt: skip


def _field(kind: str) -> Callable[[str], Any]:
    return codec(Row(type=kind), "Europe/Paris").read  # type: ignore[return-value]


nir, matricule, demande, date_fr, phone, email = map(
    _field, ("nir", "matricule_caf", "numero_demande", "date_fr", "phone", "email")
)


def read_contacts(row: dict[str, str]) -> Record:
    """What an engineer would write for this file, finding by finding."""
    findings: list[Finding] = []
    facts: dict[str, Any] = {}
    foyer: dict[str, Any] = {"foyer.organisme": "caf"}

    def take(column: str, read: Callable[[str], Any]) -> Any:
        if not (text := row.get(column)):
            return None
        try:
            return read(text)
        except Bad as error:
            findings.append(Finding(error.code, column, "quarantine", "", error.detail))
            return None

    for column in row:
        if column not in COLUMNS:
            findings.append(Finding("unknown-element", column, "notice"))
    if (number := take("nir", nir)) is not None:
        facts["identifiants[nir].valeur"] = number
    said = row.get("role personne") or ""
    role = ROLES.get(said) or ROLES.get(said.strip())
    if role is not None:
        facts["personne.role_foyer"] = role
    else:
        findings.append(Finding("unknown-code" if said else "missing-required", "role personne", "quarantine", said))
    file_number = take("matricule", matricule)
    request = take("numero demande rsa", demande)
    for path, value, column in (
        ("foyer.matricule", file_number, "matricule"),
        ("droit_rsa.numero_demande", request, "numero demande rsa"),
    ):
        if value is not None:
            foyer[path] = value
        elif not row.get(column):
            findings.append(Finding("missing-required", column, "quarantine"))
    if (asked := take("date demande rsa", date_fr)) is not None:
        foyer["droit_rsa.date_demande"] = asked
    if (since := take("date debut droits devoirs", date_fr)) is not None:
        facts["droit_rsa.date_droits_devoirs"] = since
    for column in ("numero telephone dossier", "numero telephone 2 dossier"):
        if (called := take(column, phone)) is not None:
            facts[f"personne.telephones[{called}].numero"] = called
            facts[f"personne.telephones[{called}].autorisation"] = "inconnu"
    if (address := take("adresse electronique dossier", email)) is not None:
        facts[f"personne.courriels[{address}].adresse"] = address
        facts[f"personne.courriels[{address}].autorisation"] = "inconnu"
    key = ":".join(part for part in (request, file_number, role) if part is not None)
    return Record(key, [PersonFacts(facts)], foyer, findings, None, document.digest(row, None), False)


def write_sanction(context: dict[str, Any]) -> Written:
    """The same form, filled by hand."""
    filled: dict[str, str] = {}
    empty: list[str] = []
    event: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, place, into, key in (
        ("identifiant_consequence", "identifiantConsequenceSanction", told, "identifiantConsequenceSanction"),
        ("type_evenement", "evenement/typeEvenement", event, "typeEvenement"),
        ("date_evenement", "evenement/dateEvenement", event, "dateEvenement"),
        ("type_consequence", "evenement/typeConsequenceSanctionValide", event, "typeConsequenceSanctionValide"),
        ("modalite_decision", "evenement/modaliteDecisionValidee", event, "modaliteDecisionValidee"),
        ("montant", "evenement/montantValide", event, "montantValide"),
        ("duree", "evenement/dureeValidee", event, "dureeValidee"),
        ("motif_evenement", "evenement/motifEvenement", event, "motifEvenement"),
    ):
        value = context.get(name)
        if value is None:
            empty.append(place)
        else:
            into[key] = value
            filled[place] = ""
    told["evenement"] = event
    return Written(told, filled, empty)


def same(engine: Record, by_hand: Record) -> bool:
    return (engine.personnes[0].facts, engine.foyer, engine.key, engine.digest, engine.findings) == (
        by_hand.personnes[0].facts, by_hand.foyer, by_hand.key, by_hand.digest, by_hand.findings,
    )  # fmt: skip


def ratio(engine: Callable[[], Any], by_hand: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """µs of each, best of alternating rounds."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for place, work in enumerate((engine, by_hand)):
            spent = _common.cpu_and_wall(lambda work=work: [work() for _ in range(1000)])[0]
            best[place] = min(best[place], spent * 1000)
    return best[0], best[1]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    rows = [json.loads(Path(EXAMPLES / f"{name}.json").read_text()) for name in ("demandeur", "zeros_perdus")]
    contacts, sanction = mappings.load("caf.contacts_allocataires"), mappings.load("france_travail.sanction_rsa")
    for row in rows:
        if not same(contacts.read(row), read_contacts(row)):
            raise SystemExit("the hand-written reader does not do the same")
    if sanction.write({}, SANCTION).document != write_sanction(SANCTION).document:
        raise SystemExit("the hand-written form is not the same")
    rounds = asked.rounds * (5 if asked.full else 1)
    read = ratio(lambda: contacts.read(rows[0]), lambda: read_contacts(rows[0]), rounds)
    write = ratio(lambda: sanction.write({}, SANCTION), lambda: write_sanction(SANCTION), rounds)
    return _common.told(
        "mapping",
        {"read_contacts": (read[0] / read[1], 1.3, False), "write_sanction": (write[0] / write[1], 1.3, False)},
        {"read_us": read[0], "read_by_hand_us": read[1], "write_us": write[0], "write_by_hand_us": write[1]},
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
