"""FSE+ indicators of an operation, its small counts hidden with what would tell them.

Annex I of regulation (EU) 2021/1057, to be confirmed by the managing authority before they are declared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from gateway.fse import reading_all, taking_part, told_apart
from gateway.fse_form import months
from gateway.problems import Invalid
from gateway.registry import Gateway
from schemas import nomenclatures
from schemas.convention import OperationFinancee
from schemas.record import Current, Fact, value_of

K = 5
"""Counts below this are not shown in an aggregate."""
Row = tuple[Mapping[str, Any], Mapping[str, Fact], Current]
"""A participation, the dossier it is in, and what the person answered apart."""


def _age(row: Row) -> int | None:
    """Age at entry, frozen by the two dates."""
    born = value_of(row[1], "personne.date_naissance")
    if not born or len(str(born)) != 10:
        return None
    return months(str(born), row[0]["date_entree"]) // 12


def _group(row: Row) -> str:
    level = row[0]["entree"].get("niveau_etude")
    return {one["valeur_canonique"]: one["groupe_fse"] for one in nomenclatures.crosswalk("niveau_etude")}.get(
        level, ""
    )


def _asked(name: str) -> Callable[[Row], bool]:
    return lambda row: value_of(row[2], f"participations[{row[0]['key']}].reponses_sensibles.{name}") == "oui"


def _work(*values: str) -> Callable[[Row], bool]:
    return lambda row: row[0]["entree"].get("marche_travail") in values


INDICATORS: Mapping[str, tuple[str, Callable[[Row], bool]]] = {
    "EECO01": ("Participants", lambda row: True),
    "EECO02": ("Chômeurs, longue durée comprise", _work("chomeur", "chomeur_longue_duree")),
    "EECO03": ("Chômeurs de longue durée", _work("chomeur_longue_duree")),
    "EECO04": ("Inactifs", _work("inactif_hors_formation", "inactif_en_formation")),
    "EECO05": ("En emploi", _work("actif_non_independant", "actif_independant")),
    "EECO06": ("Moins de 18 ans", lambda row: (age := _age(row)) is not None and age < 18),
    "EECO07": ("De 18 à 29 ans", lambda row: 18 <= (_age(row) or 0) <= 29),
    "EECO08": ("55 ans et plus", lambda row: (_age(row) or 0) >= 55),
    "EECO09": ("CITE 0 à 2", lambda row: _group(row) == "cite_0_2"),
    "EECO10": ("CITE 3 et 4", lambda row: _group(row) == "cite_3_4"),
    "EECO11": ("CITE 5 à 8", lambda row: _group(row) == "cite_5_8"),
    "EECO12": ("Handicap déclaré", _asked("handicap")),
    "EECO13": ("Pays tiers", lambda row: value_of(row[1], "personne.nationalite_groupe") == "autre"),
    "EECO14": ("Origine étrangère déclarée", _asked("origine_etrangere")),
    "EECO15": ("Minorité déclarée", _asked("minorite")),
    "EECO16": ("Sans abri ou exclus du logement",
               lambda row: row[0]["entree"].get("conditions_logement") in ("sans", "centre_accueil", "foyer")
               or value_of(row[1], "personne.adresses[residence].sans_domicile_fixe") is True),
    "EECO17": ("Commune rurale", lambda row: row[0]["entree"].get("commune_rurale") is True),
    "EECR01": ("En recherche d'emploi à la sortie", lambda row: row[0]["sortie"].get("en_recherche") is True),
    "EECR02": ("En formation à la sortie", lambda row: row[0]["sortie"].get("en_formation") is True),
    "EECR03": ("Qualification à la sortie", lambda row: row[0]["sortie"].get("qualification_obtenue") is True),
    "EECR04": ("En emploi à la sortie", lambda row: row[0]["sortie"].get("en_emploi") is True),
    "EECR05": ("En emploi six mois après", lambda row: row[0]["six_mois"].get("en_emploi") is True),
    "EECR06": ("Situation améliorée six mois après", lambda row: row[0]["six_mois"].get("situation_amelioree") is True),
}  # fmt: skip
_PARTS = (("EECO02", "EECO04", "EECO05"), ("EECO06", "EECO07", "EECO08"), ("EECO09", "EECO10", "EECO11"))
"""Rows that share out the participants: one of them alone would be found by subtraction."""
_COLUMNS = ("total", "feminin", "masculin")


def targets_of(content: Mapping[str, Any]) -> Mapping[str, int]:
    """The targets of an operation, by indicator, from its description (`operation_financee`). Raises `Invalid`."""
    try:
        told = OperationFinancee.model_validate(content).cibles or {}
    except ValidationError as error:
        where = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise Invalid("operation-invalid", f"Correct these fields of the operation: {where}.") from None
    if unknown := sorted(told.keys() - INDICATORS.keys()):
        raise Invalid("operation-invalid", f"Targets are set by {', '.join(INDICATORS)}, not by {unknown[0][:40]}.")
    return told


def indicators(
    gateway: Gateway, operation: str, k: int = K, targets: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Any]:
    """Output and result indicators of one operation, by sex, each beside its target when it has one; None stands for a
    count too small to be shown."""
    counts = {code: dict.fromkeys(_COLUMNS, 0) for code in INDICATORS}
    with reading_all(gateway, "fse-indicators") as work:
        for person_id, current, one in taking_part(work, gateway, operation):
            if not one["date_entree"]:
                continue
            answers = told_apart(work, gateway, person_id)
            for code, (_, holds) in INDICATORS.items():
                if holds((one, current, answers)):
                    counts[code]["total"] += 1
                    if (sex := value_of(current, "personne.sexe_etat_civil")) in _COLUMNS:
                        counts[code][sex] += 1
    shown = suppressed(counts, k)
    return {
        "operation": operation,
        "seuil": k,
        "indicateurs": [
            {"code": code, "libelle": label} | shown[code] | ({"cible": targets[code]} if code in targets else {})
            for code, (label, _) in INDICATORS.items()
        ],
    }  # fmt: skip


def suppressed(counts: Mapping[str, Mapping[str, int]], k: int = K) -> dict[str, dict[str, int | None]]:
    """Hide what is above 0 and below `k`, and what subtraction would give back.

    Along a row, the sexes are hidden together, and with their sum. Down a column, when a single row of a share-out
    would be hidden, the smallest of the others that is not 0 goes too: what both make is then no small count. A nested
    count (long-term among unemployed) hides with the difference it would tell.
    """
    shown: dict[str, dict[str, int | None]] = {code: dict(row) for code, row in counts.items()}

    def small(value: int | None) -> bool:
        return value is not None and 0 < value < k

    for row in shown.values():
        for column, value in list(row.items()):
            if small(value):
                row[column] = None
    for outer, inner in (("EECO01", code) for code in shown if code != "EECO01"):
        for column in _COLUMNS:
            whole, part = counts.get(outer, {}).get(column, 0), counts[inner].get(column, 0)
            if 0 < whole - part < k:
                shown[inner][column] = None
    if "EECO02" in shown and "EECO03" in shown:
        for column in _COLUMNS:
            if 0 < counts["EECO02"][column] - counts["EECO03"][column] < k:
                shown["EECO03"][column] = None
    while _companions(shown, counts) or _whole_rows(shown):
        continue  # each hides only what was shown: it ends
    return shown


def _companions(shown: Mapping[str, dict[str, int | None]], counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Down each column, hide one more row of a share-out of which a single one is hidden; was there any?"""
    found = False
    for rows, column in product(_PARTS, _COLUMNS):
        seen = [code for code in rows if code in shown and shown[code][column] is not None]
        if seen and len(seen) == sum(code in shown for code in rows) - 1:
            hidden = min(seen, key=lambda code: (not counts[code][column], counts[code][column]))
            shown[hidden][column], found = None, True
    return found


def _whole_rows(shown: Mapping[str, dict[str, int | None]]) -> bool:
    """Along each row, hide the sexes with one another, and with their sum; was any hidden alone?"""
    found = False
    for row in shown.values():
        if None in row.values() and (row["feminin"], row["masculin"]) != (None, None):
            row["feminin"] = row["masculin"] = None
            found = True
    return found
