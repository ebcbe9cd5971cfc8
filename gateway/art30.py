"""The register of processing (GDPR 30), made from the live configuration and compared with what the journal saw.

One line per purpose and regime: controllers, persons, categories, declared recipients, retention, security, and beside
them the recipients and categories that deliveries really reached. What was seen and is not declared is an alert; what
is declared and was never seen is a hint to minimise. The processor's own register (30(2)) is the same, by controller.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from typing import Any

from connectors.table import inert
from gateway import convention
from gateway.audit_queries import all_flows, sent
from gateway.convention_checks import parse
from gateway.convention_model import Flow, codes_of
from gateway.policy import in_order
from gateway.policy_obligations import hours
from gateway.printed import printed
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from gateway.words import day, word

SECURITY = (
    "chiffrement de chaque personne par une clé propre (AES-256-GCM), clés hors de la base",
    "accès par jetons courts liés à une clé (OAuth 2, DPoP), finalité dans le jeton",
    "décision par catégorie à chaque envoi, refus par défaut",
    "journal sans contenu, arbre de Merkle signé, vérifiable par un tiers",
    "effacement par destruction de clé, liste tenue hors de la base",
)
PERSONS = "personnes accompagnées vers l'emploi ou bénéficiaires du RSA, et membres de leur foyer"
TRANSFERS = "aucun hors de l'Union européenne"


def register(work: UnitOfWork, gateway: Gateway, start: str, end: str) -> dict[str, Any]:
    """Both registers, and the differences between what is declared and what was seen from `start` to `end`."""
    flows = [flow for flow in all_flows(work, gateway) if flow.etat != "brouillon"]
    seen = sent(work.connection, start, end)
    treatments = _treatments(gateway, flows, seen)
    return {
        "document": "maillon.registre",
        "generated_at": work.now,
        "observed": {"from": start, "to": end},
        "policy": gateway.policy.version,
        "controllers": _controllers(work),
        "processor": {"name": "exploitant de la passerelle", "role": "sous-traitant (RGPD 28)"},
        "treatments": treatments,
        "processor_register": _by_controller(treatments),
        "differences": _differences(gateway, flows, seen),
    }


def _treatments(gateway: Gateway, flows: list[Flow], seen: Mapping[Any, Any]) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, str], list[Flow]] = defaultdict(list)
    for flow in flows:
        grouped[flow.purpose, flow.regime].append(flow)
    table = gateway.policy.table
    found = []
    for (purpose, regime), group in sorted(grouped.items()):
        ways = {(flow.de, flow.vers) for flow in group}
        actual = {way: codes for way, codes in seen.items() if way[0] == purpose and way[1:] in ways}
        law = table.regimes[regime]
        found.append({
            "id": f"{table.purposes[purpose]}-{regime}",
            "purpose": purpose,
            "regime": regime,
            "articles": sorted({article for flow in group for article in flow.base_legale}),
            "bases": list(law.bases),
            "controllers": sorted({flow.de for flow in group} | {flow.vers for flow in group}),
            "joint": len({flow.de for flow in group} | {flow.vers for flow in group}) > 1,
            "persons": PERSONS,
            "categories": in_order(frozenset[str]().union(*(_declared(gateway, flow) for flow in group))),
            "recipients": sorted({flow.vers for flow in group if flow.active}),
            "conventions": sorted({flow.convention for flow in group}),
            "retention": {"active": law.retention, "archive": law.archive, "traces": law.traces},
            "transfers": TRANSFERS,
            "security": list(SECURITY),
            "observed_recipients": sorted({way[2] for way in actual}),
            "observed_categories": in_order({code for codes in actual.values() for code in codes}),
            "observed_deliveries": sum(max(codes.values(), default=0) for codes in actual.values()),
        })  # fmt: skip
    return found


def _declared(gateway: Gateway, flow: Flow) -> frozenset[str]:
    """What this flow may carry: what its document writes, within the law and the convention."""
    written = gateway.categories(gateway.document(flow.vers, flow.document))
    return flow.may_carry(gateway.policy.table) & codes_of(written)


def _differences(gateway: Gateway, flows: list[Flow], seen: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """`undeclared` (an alert) and `unused` (a hint), by purpose, sender and recipient."""
    declared: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    live: set[tuple[str, str, str]] = set()
    for flow in flows:
        way = (flow.purpose, flow.de, flow.vers)
        declared[way] |= _declared(gateway, flow)
        if flow.active:
            live.add(way)
    found = []
    for way in sorted(declared.keys() | seen.keys()):
        actual, said = set(seen.get(way, {})), declared.get(way, set())
        told = {"purpose": way[0], "sender": way[1], "recipient": way[2]}
        if extra := actual - said:
            known = "categories" if way in declared else "recipient"
            found.append(told | {"kind": "undeclared", "what": known, "categories": in_order(extra)})
        if way in live and (missing := said - actual):
            found.append(told | {"kind": "unused", "what": "categories" if actual else "recipient",
                                 "categories": in_order(missing)})  # fmt: skip
    return found


def _controllers(work: UnitOfWork) -> list[dict[str, str]]:
    """Every party of every convention, as it signed."""
    found: dict[str, dict[str, str]] = {}
    for one in convention.list_(work):
        signed = parse(convention.show(work, one["id"]).encode())
        for party in [*signed.partie, *(annexe.partie for annexe in signed.annexe)]:
            found[party.id] = {"id": party.id, "name": party.nom, "role": party.role, "siren": party.siren}
    return [found[name] for name in sorted(found)]


def _by_controller(treatments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """GDPR 30(2): for each controller, the categories of processing carried out on its behalf."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in treatments:
        for controller in one["controllers"]:
            found[controller].append(one["id"])
    return [{"controller": name, "treatments": ids, "transfers": TRANSFERS, "security": list(SECURITY)}
            for name, ids in sorted(found.items())]  # fmt: skip


# --- outputs ----------------------------------------------------------------------------------------------------------

_COLUMNS = {
    "id": "Référence", "purpose": "Finalité", "regime": "Régime", "articles": "Textes", "bases": "Base légale (RGPD 6)",
    "controllers": "Responsables", "persons": "Personnes concernées", "categories": "Catégories déclarées",
    "recipients": "Destinataires déclarés", "observed_recipients": "Destinataires constatés",
    "observed_categories": "Catégories constatées", "observed_deliveries": "Envois constatés",
    "retention": "Conservation", "transfers": "Transferts", "security": "Sécurité",
}  # fmt: skip


def as_csv(told: Mapping[str, Any]) -> str:
    """One line per treatment, `;` between columns, as French spreadsheets open it."""
    return _csv(_COLUMNS, told["treatments"])


def _csv(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(columns.values())
    for one in rows:
        writer.writerow([_cell(one[name]) for name in columns])
    return "\ufeff" + out.getvalue()


def processor_csv(told: Mapping[str, Any]) -> str:
    """The processor's register (30(2)): one line per controller."""
    columns = {"controller": "Responsable de traitement", "treatments": "Traitements effectués pour son compte",
               "transfers": "Transferts", "security": "Sécurité"}  # fmt: skip
    return _csv(columns, told["processor_register"])


def as_html(told: Mapping[str, Any], gateway: Gateway) -> str:
    """The register as a page to read or print."""
    return _page("registre.html", told, gateway)


def annex_html(told: Mapping[str, Any], gateway: Gateway) -> str:
    """The annex of the impact assessment (GDPR 35(7)): what the gateway can say of itself, gaps left to be filled."""
    return _page("aipd.html", told, gateway)


def _page(name: str, told: Mapping[str, Any], gateway: Gateway) -> str:
    law, bodies = gateway.policy.table.source, gateway.bodies
    filters: dict[str, Callable[..., Any]] = {
        "texte": _cell,
        "periode": _months,
        "ordre": in_order,
        "jour": day,
        "categorie": lambda code: f"{code} {word('categorie', code, '')}",
        "finalite": lambda name: law["purposes"][name]["fr"],
        "regime": lambda name: law["regimes"][name]["fr"],
        "regle": lambda rule: word("regle", rule.id, rule.text_fr),
        "organisme": lambda id: bodies[id].name if id in bodies else id,
    }
    return printed(name, filters, told=told, columns=_COLUMNS, table=gateway.policy.table, security=SECURITY)


_KEPT = {"active": "données", "archive": "archives", "traces": "traces"}


def _months(iso: str) -> str:
    """`P2Y` as « 24 mois »; a shorter time in days."""
    kept = hours(iso)
    return f"{round(kept / 730.5)} mois" if kept >= 730 else f"{round(kept / 24)} jours"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):  # how long each thing is kept
        return ", ".join(f"{_KEPT[name]} {_months(one)}" for name, one in value.items() if one)
    return inert(", ".join(map(str, value)) if isinstance(value, list) else str(value))
