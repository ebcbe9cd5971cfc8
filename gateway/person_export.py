"""The answer to a request for access (GDPR 15): everything held about one person, as JSON and as a page to read.

Third parties are taken out, and the names of agents are not given: the body that employs them answers for them. Every
exchange is there, from the journal: who, when, why, under which article, what was sent, what was kept back, and also
what was refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select

from gateway import basis, fse_apart, journal, merge, private_file, quarantine
from gateway.categories import legal_code
from gateway.person_history import HERSELF, head_of, logged, people_of, pseudonyms
from gateway.policy_obligations import hours
from gateway.policy_question import in_order
from gateway.policy_table import Onward, Rule
from gateway.printed import printed
from gateway.rectification import statements_of
from gateway.registry import Gateway
from gateway.rights import REMEDIES, demands
from gateway.storage.tables.basis import basis_notification
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.record import assertion_set, exchange, identifier, membership
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased
from gateway.words import day, in_words, many, moment, period, word
from schemas import nomenclatures, paths
from schemas.fields import FIELDS, keys, shape

_AGENT = re.compile(
    r"(?:\.professionnel|\.referent_pressenti|\.referent_demande)\.(?!role$)|^entretiens\[.*\.professionnels$"
)
"""Who an agent is: only the function is given (CJEU C-579/21)."""
_OTHERS = ("foyer.membres[",)
"""Facts about the other members of the household."""
_FIELDS = (
    "event", "exchange_id", "sender_org", "recipient_org", "document", "purpose", "regime", "article", "basis",
    "decision", "rule_ids", "policy_h", "categories_sent", "categories_redacted", "consent_ref", "notice_ref",
    "outcome", "reason_code", "object_ref",
)  # fmt: skip
"""What an entry tells the person. Agents, clients, keys and networks are not hers."""


def gather(work: UnitOfWork, gateway: Gateway, person_id: str) -> dict[str, Any]:
    """Everything held about a person, ready for JSON; the access itself is journaled (`right.access`).

    Raises `Unknown`. An erased person has only what the journal and the basis records prove.
    """
    head = head_of(work, person_id)
    people = people_of(work, head)
    homes = _homes(work, people)
    journal.append(
        work, "right.access", subject=gateway.keys.pseudonym(HERSELF, head), purpose="droits_personne",
        article=["RGPD 15"], outcome="exported",
    )  # fmt: skip
    removed = {"agents": 0, "tiers": 0}
    current = gateway.dossiers.current(work, head) | fse_apart.of(work, gateway, people)
    names = pseudonyms(work, gateway, people)
    return {
        "document": "maillon.acces",
        "generated_at": work.now,
        "person": gateway.keys.pseudonym(HERSELF, head),
        "facts": {
            path: {"value": fact.value, "source": fact.source, "document": fact.document, "date": fact.asserted_at,
                   "certainty": fact.certainty}
            for path, fact in sorted(current.items())
            if _hers(path, removed)
        },
        "divergences": [
            {"path": one.path, "values": [{"value": fact.value, "source": fact.source} for fact in one.facts]}
            for one in merge.divergences(gateway.dossiers.said(work, head))
            if _hers(one.path, {})
        ],
        "statements": statements_of(work, gateway, people),
        "said": _said(work, gateway, [*people, *homes]),
        "identifiers": _identifiers(work, people),
        "exchanges": [_entry(one) for one in logged(work, names)],
        "received": _received(work, [*people, *homes]),
        "deliveries": _deliveries(work, people),
        "letters": _letters(work, people),
        "waiting_for_a_human": _quarantined(work, gateway, people),
        "bases": [record for one in people for record in map(_basis, basis.list_(work, one))],
        "told_to_recipients": _told(work, names),
        "requests": [one.line() for who in people for one in demands(work, person_id=who)],
        "retention": _retention(gateway),
        "bodies": {id: body.name for id, body in sorted(gateway.bodies.items())},
        "removed": removed,
        "remedies": REMEDIES,
    }  # fmt: skip


def export(work: UnitOfWork, gateway: Gateway, person_id: str, folder: Path) -> dict[str, Any]:
    """Write `dossier.json` and `page.html` in a folder that only its owner may read; gives counts."""
    told = gather(work, gateway, person_id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in (
        ("dossier.json", json.dumps(told, ensure_ascii=False, indent=1)),
        ("page.html", page(told, gateway)),
    ):
        private_file.write(folder / name, text.encode())
    counted = ("facts", "said", "exchanges", "deliveries", "bases", "requests")
    return {"folder": str(folder)} | {name: len(told[name]) for name in counted}


def portability(work: UnitOfWork, gateway: Gateway, person_id: str) -> dict[str, Any]:
    """What was provided under a consent, as JSON (GDPR 20); else why the right does not apply."""
    head = head_of(work, person_id)
    people = people_of(work, head)
    consents = [
        one["record"]
        for person in people
        for one in basis.list_(work, person)
        if one["record"]["kind"] == "consent" and one["state"] in ("given", "withdrawn", "expired")
    ]
    codes = {code for record in consents for code in record["categories"] if record["legal_basis"] == "a"}
    journal.append(
        work, "right.portability", subject=gateway.keys.pseudonym(HERSELF, head), purpose="droits_personne",
        article=["RGPD 20"], outcome="given" if codes else "not-applicable",
    )  # fmt: skip
    if not codes:
        return {
            "applicable": False,
            "article": "RGPD 20(1)(a), 20(3)",
            "reason": "Vos données sont traitées en vertu d'une obligation légale ou d'une mission d'intérêt public, "
            "pas de votre consentement : le droit à la portabilité ne s'y applique pas. Vous gardez le droit d'accès.",
        }
    current = gateway.dossiers.current(work, head)
    facts = {
        path: {"value": fact.value, "source": fact.source, "date": fact.asserted_at}
        for path, fact in sorted(current.items())
        if legal_code(path, fact.value) in codes and _hers(path, {})
    }
    return {"applicable": True, "article": "RGPD 20", "categories": sorted(codes), "facts": facts}


def page(told: Mapping[str, Any], gateway: Gateway) -> str:
    """The same for a reader: French, without script, usable with a screen reader and on paper."""
    law = gateway.policy.table
    rules: dict[str, Rule | Onward] = {rule.id: rule for rule in law.rules}
    rules |= {rule.id: rule for rule in law.onward}
    reasons = {rule.reason: rule.text_fr for rule in law.rules if rule.text_fr}
    filters: dict[str, Callable[..., Any]] = {
        "jour": day, "duree": period, "ordre": in_order, "champ": field_in_words, "valeur": value_in_words,
        "texte": lambda articles: _text(articles).replace("; ", " ; "),
        "mot": lambda code, section: word(section, code),
        "fait": lambda event: word("copie_fait", event, "") or word("evenement", event).lower(),
        "organisme": lambda id: told["bodies"].get(id, "vous-même" if id == HERSELF else id or "–"),
        "categorie": lambda code: word("categorie", code),
        "finalite": lambda name: law.source["purposes"].get(name, {}).get("fr", name) if name else "–",
        "regime": lambda name: law.source["regimes"].get(name, {}).get("fr", name),
        "document": gateway.title,
        "motif": lambda code: word("motif", code, "") or reasons.get(code, code or ""),
        "regle": rules.get,
    }  # fmt: skip
    return printed("acces.html", filters, told=told, many=many)


# --- what is held -----------------------------------------------------------------------------------------------------


def _hers(path: str, removed: dict[str, int]) -> bool:
    kind = "agents" if _AGENT.search(path) else "tiers" if path.startswith(_OTHERS) else ""
    if kind in removed:
        removed[kind] += 1
    return not kind


def _homes(work: UnitOfWork, people: list[str]) -> list[str]:
    query = select(membership.c.foyer_id).where(membership.c.person_id.in_(people), membership.c.until.is_(None))
    return sorted(work.connection.execute(query.distinct()).scalars())


def _said(work: UnitOfWork, gateway: Gateway, subjects: list[str]) -> list[dict[str, Any]]:
    """Every statement kept, those that were superseded too."""
    query = select(assertion_set).where(assertion_set.c.subject_id.in_(subjects)).order_by(assertion_set.c.id)
    found = []
    for row in work.connection.execute(query):
        try:
            facts = fse_apart.opened(gateway, row.subject_id, gateway.vault.open(work, row.subject_id, row.payload))
        except Erased:
            continue
        found.append(
            {"source": row.source, "document": row.document, "asserted_at": row.asserted_at,
             "received_at": row.received_at, "superseded_at": row.superseded_at,
             "facts": {path: value for path, value in facts.items() if _hers(path, {})}}
        )  # fmt: skip
    return found


def _identifiers(work: UnitOfWork, people: list[str]) -> list[dict[str, str]]:
    query = select(identifier).where(identifier.c.subject_id.in_(people)).order_by(identifier.c.first_seen)
    return [
        {"system": row.system, "source": row.source, "first_seen": row.first_seen}
        for row in work.connection.execute(query)
    ]


def _entry(one: journal.Logged) -> dict[str, Any]:
    fields = one.fields
    return {"log": one.log, "index": one.idx, "ts": one.ts} | {name: fields[name] for name in _FIELDS if name in fields}


def _received(work: UnitOfWork, subjects: list[str]) -> list[dict[str, Any]]:
    """The exchanges that brought something of her."""
    brought = select(assertion_set.c.exchange_id).where(assertion_set.c.subject_id.in_(subjects))
    query = select(exchange).where(exchange.c.id.in_(brought)).order_by(exchange.c.id)
    return [
        {"exchange_id": row.id, "sender": row.sender, "document": row.document, "received_at": row.received_at,
         "purpose": row.purpose}
        for row in work.connection.execute(query)
    ]  # fmt: skip


def _deliveries(work: UnitOfWork, people: list[str]) -> list[dict[str, Any]]:
    query = select(outbox).where(outbox.c.person_id.in_(people)).order_by(outbox.c.id)
    return [
        {"id": row.id, "exchange_id": row.exchange_id, "sender": row.sender, "recipient": row.recipient,
         "document": row.document, "state": row.state, "reason": row.reason, "article": row.article,
         "categories": (row.categories or "").split(",") if row.categories else [],
         "withheld": [{"category": one[0], "rule": one[1]} for one in json.loads(row.withheld or "[]")],
         "created_at": row.created_at, "settled_at": row.settled_at}
        for row in work.connection.execute(query)
    ]  # fmt: skip


def _letters(work: UnitOfWork, people: list[str]) -> list[dict[str, Any]]:
    query = select(mailbox).where(mailbox.c.person_id.in_(people)).order_by(mailbox.c.id)
    return [
        {"body": row.body, "document": row.document, "created_at": row.created_at, "fetched_at": row.fetched_at,
         "acknowledged_at": row.acknowledged_at}
        for row in work.connection.execute(query)
    ]  # fmt: skip


def _quarantined(work: UnitOfWork, gateway: Gateway, people: list[str]) -> list[dict[str, Any]]:
    found = []
    for _, record, others in quarantine.holding(work, gateway, people):
        hers = [one for one in record.personnes if one not in others]
        found.append(
            {"findings": [{"code": one.code, "path": one.path} for one in record.findings],
             "facts": [{path: value for path, value in one.facts.items() if _hers(path, {})} for one in hers]}
        )  # fmt: skip
    return found


def _basis(record: dict[str, Any]) -> dict[str, Any]:
    """A basis record as the person sees it: not the gateway's own id of her, not who attested."""
    said = {name: value for name, value in record["record"].items() if name not in ("person_id", "evidence")}
    events = [{name: one[name] for name in ("name", "occurred_at", "recorded_at")} for one in record["events"]]
    return record | {"record": said, "events": events}


def _told(work: UnitOfWork, subjects: Mapping[str, str]) -> list[dict[str, Any]]:
    """What past recipients were told of her requests, and what each answered."""
    refs = [basis_notification.c.content.contains(f'"subject_ref":"{one}"', autoescape=True) for one in subjects]
    rows = work.connection.execute(select(basis_notification).where(or_(*refs)).order_by(basis_notification.c.id)).all()
    return [
        {"recipient": row.recipient, "action": row.action, "state": row.state, "since": row.created_at,
         "answered_at": row.answered_at, "answer": json.loads(row.answer) if row.answer else None}
        for row in rows
    ]  # fmt: skip


def _retention(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return {
        name: {"active": regime.retention, "archive": regime.archive, "traces": regime.traces,
               "months": round(hours(regime.retention) / 730.5)}
        for name, regime in sorted(gateway.policy.table.regimes.items())
    }  # fmt: skip


# --- words ---


def field_in_words(path: str) -> str:
    """A canonical path in words: where it stands, which item by its label, what the field says.

    Keys without a label are numbers of files or of persons, and are left out; a system's name is kept.
    """
    try:
        champ = paths.field(path)
    except paths.UnknownPath:
        return path
    *steps, _ = shape(path).split(".")
    items = zip(champ.cles, keys(path), strict=True)
    words = []
    for step in steps:
        words.append(in_words(step.removesuffix("[]")))
        if step.endswith("[]"):
            one, key = next(items)
            if one.liste is not None:
                words.append(_label(one.liste, key))
            elif not one.personnelle and ":" not in key:
                words.append(in_words(key))
    return " › ".join([*words, champ.description])


def value_in_words(value: Any, path: str) -> str:
    """A value as the field means it: the label of its code, the day of its date."""
    champ = FIELDS.get(shape(path))
    if champ is None or not isinstance(value, str):
        return _text(value)
    if champ.type in ("date", "date_partielle"):
        return day(value)
    if champ.type == "instant":
        return moment(value)
    if champ.liste is not None:
        return _label(champ.liste, value)
    return in_words(value) if champ.valeurs else value


def _label(name: str, code: str) -> str:
    found = nomenclatures.codes(name).get(code)
    return in_words(found.libelle) if found is not None else code


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "oui" if value else "non"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
