"""Who received what about a person, why, and what was refused: found by any identifier, never shown back."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from gateway import journal, person_history
from gateway.console import bases, law_words
from gateway.console.blocks import (
    Badge,
    Facts,
    Field,
    Figures,
    Form,
    Lines,
    Link,
    Notice,
    Num,
    Page,
    Quiet,
    Step,
    Table,
    Tabs,
    Text,
    Timeline,
    Title,
    When,
)
from gateway.console.common import DPO, Answer, Go, Place, View, to_correct
from gateway.console.rights import records
from gateway.outbox import REPLACED
from gateway.person_history import head_of, people_of, pseudonyms
from gateway.policy_table import Rule
from gateway.problems import Unknown
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import assertion_set, reference
from gateway.words import day, many, moment, number, say, says, word
from schemas import normalisation

LIMIT = 400
"""Facts shown at most in the story of one person, the newest; what is counted of her is counted on all."""
_FIELDS: tuple[tuple[str, str, str], ...] = (
    ("nir", "identifiants[nir].valeur", "text"),
    ("date_naissance", "personne.date_naissance", "date"),
    ("nom_naissance", "personne.nom_naissance", "text"),
    ("prenom", "personne.prenoms", "text"),
    ("numero_france_travail", "identifiants[ft_numero].valeur", "text"),
    ("identifiant_departement", "", "text"),
    ("telephone", "", "tel"),
    ("courriel", "", "email"),
    ("reference", "", "text"),
)
"""Field of the form → canonical path it is looked up by; empty when its path holds the value or the scope."""


def places() -> list[Place]:
    """The pages about one person."""
    return [
        Place("/console/personne", form, ("dpo",)),
        Place("/console/personne", search, ("dpo",), "POST", unsaid=True),
        Place("/console/personne/{ref}", history, ("dpo",)),
    ]


# --- finding her ------------------------------------------------------------


def form(view: View) -> Page:
    """The search form: identifiers travel in the body of the request and are never shown back."""
    return _form_page([])


def _form_page(errors: Sequence[tuple[str, str]]) -> Page:
    wrong = dict(errors)
    groups = {"nir": "identite", "date_naissance": "identite", "nom_naissance": "identite", "prenom": "identite"}
    fields = [
        Field(
            name,
            say(f"recherche.{name}"),
            kind,
            say(f"recherche.{name}_aide"),
            error=wrong.get(name, ""),
            group=say(f"recherche.groupe_{groups.get(name, 'autres')}"),
        )
        for name, _, kind in _FIELDS
    ]
    page = Page(say("recherche.titre"), [Text(say("recherche.intro"), lead=True)], error=bool(errors))
    if errors:
        items = [Link(text, f"#{name}") for name, text in errors]
        page.blocks.append(to_correct(*items))
        page.status = 422
    page.blocks.append(Form("/console/personne", say("recherche.chercher"), fields))
    page.blocks.append(Text(say("recherche.trace")))
    return page


def search(view: View) -> Answer:
    """Find a person by what was typed; the reading is journaled, found or not."""
    facts, errors = _facts(view)
    if errors:
        return _form_page(errors)
    person, certain = _find(view, facts)
    view.journal("log.read", outcome="person-search", reason_code="found" if person else "unknown")
    if person is None:
        page = _form_page([])
        page.blocks.insert(1, Notice(say("recherche.inconnue"), "wait"))
        return page
    given = view.gateway.references.give(view.work, DPO, person)
    return Go(f"/console/personne/{given}" + ("" if certain else "?certitude=a_confirmer"))


def _facts(view: View) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    typed = {name: view.given(name) for name, _, _ in _FIELDS}
    facts: dict[str, Any] = {path: typed[name] for name, path, _ in _FIELDS if path and typed[name]}
    errors = []
    if typed["prenom"]:
        facts["personne.prenoms"] = [typed["prenom"]]
    if typed["nir"]:
        read = normalisation.nir(typed["nir"])
        if read.controle == "invalide":
            errors.append(("nir", say("recherche.nir_faux")))
        facts["identifiants[nir].valeur"] = read.valeur.valeur
    if typed["date_naissance"] and not re.fullmatch(r"\d{4}-\d\d-\d\d", typed["date_naissance"]):
        errors.append(("date_naissance", say("recherche.date_fausse")))
    for name, path, read_one in (
        ("telephone", "personne.telephones[{0}].numero", normalisation.phone),
        ("courriel", "personne.courriels[{0}].adresse", normalisation.email),
    ):
        if typed[name]:
            if value := read_one(typed[name]):
                facts[path.format(value)] = value
            else:
                errors.append((name, say(f"recherche.{name}_faux")))
    if typed["identifiant_departement"]:
        scope = view.gateway.settings.departement.lstrip("0")
        facts[f"identifiants[si_departement:{scope}].valeur"] = typed["identifiant_departement"]
    if typed["reference"]:
        if not re.fullmatch(r"[0-9a-f]{40}", typed["reference"]):
            errors.append(("reference", say("recherche.reference_fausse")))
        facts["reference"] = typed["reference"]
    if not facts and not errors:
        errors.append(("nir", say("recherche.vide")))
    return facts, errors


def _find(view: View, facts: dict[str, Any]) -> tuple[str | None, bool]:
    """(person, is it certain)."""
    if given := facts.pop("reference", ""):
        row = view.connection.execute(select(reference.c.person_id).where(reference.c.reference == given)).first()
        if row is not None:
            return row.person_id, True
    match = view.gateway.identity.resolve(view.work, view.gateway.identity.keys_of(facts))
    return match.person_id or match.candidate, bool(match.person_id) or match.reason == "nir-alone"


# --- what happened ------------------------------------------------------------


@dataclass
class _Sent:
    """What went, or did not go, to one recipient in one exchange."""

    at: str
    recipient: str
    sender: str
    state: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    place: str = ""
    document: str = ""
    sent: set[str] = field(default_factory=set)
    kept: list[tuple[str, str, str, int]] = field(default_factory=list)
    reason: str = ""

    @property
    def refused(self) -> bool:
        return self.state == "refused"


def history(view: View) -> Page:
    """Everything exchanged about a person, and the answer to « who received what, and was anything refused? »."""
    found = view.gateway.references.find(view.work, DPO, view.at("ref"))
    if found is None:
        raise Unknown("person-unknown", "Search the person again.")
    person = head_of(view.work, found)
    people = people_of(view.work, person)
    view.journal("log.read", outcome="person-history", subject=view.reference(person))
    entries = list(person_history.logged(view.work, pseudonyms(view.work, view.gateway, people)))
    sent = _sent(view, people, entries)
    page = Page(say("personne.titre"), back=Link(say("personne.retour"), "/console/personne"))
    if view.asked("certitude") == "a_confirmer":
        page.blocks.append(Notice(say("personne.a_confirmer"), "wait"))
    page.blocks.append(Text(_answer(view, sent), lead=True))
    refused = sum(one.refused for one in sent)
    page.blocks.append(
        Figures(
            [
                (say("personne.livres"), Num(sum(one.state == "delivered" for one in sent)), "good"),
                (say("personne.refuses"), Num(refused), "bad" if refused else ""),
                (say("personne.retenues"), Num(len({code for one in sent for code, *_ in one.kept})), ""),
                (say("personne.lectures"), Num(sum(_is_reading(one.fields) for one in entries)), ""),
            ]
        )
    )
    page.blocks.append(Facts([(say("personne.droits"), _opening(view))]))
    page.blocks += [Title(say("personne.recu_par")), _received(view, sent), *_bases(view, person)]
    page.blocks += _timeline(view, people, sent, entries)
    return page


def _opening(view: View) -> Link:
    return Link(say("droits.ouvrir"), f"/console/personne/{view.at('ref')}/demande")


def _sent(view: View, people: Sequence[str], entries: Sequence[journal.Logged]) -> list[_Sent]:
    """One line per delivery or refusal, for one exchange may be delivered again: what was once given stays given.

    A request is the delivery that follows it, until another word of the journal names that delivery.
    """
    rows = view.connection.execute(select(outbox).where(outbox.c.person_id.in_(people)).order_by(outbox.c.id)).all()
    unread = {row.id for row in rows if row.state == "withheld"}
    found: dict[tuple[str, str, str], _Sent] = {}
    for logged in entries:
        told = logged.fields
        event, recipient = told["event"], told.get("recipient_org")
        if not event.startswith("exchange.") or not recipient or _is_receipt(told):
            continue
        place = f"{logged.log}:{logged.idx}"
        of = told.get("exchange_id", place)
        delivery = told.get("delivery_id", "") if event != "exchange.request" else ""  # there, the sender's own name
        key = (of, recipient, delivery or (place if event == "exchange.deny" else ""))
        if event == "exchange.deny" and key in found and delivery not in unread:
            key = (of, recipient, place)  # a letter that was read already is asked for again
        asked = found.pop((of, recipient, ""), None) if key not in found else None
        one = found.setdefault(key, asked or _Sent(told["ts"], recipient, told.get("sender_org", "")))
        one.told |= told
        one.place = f"{logged.log} n° {logged.idx}"
        if event == "exchange.deny":
            one.state, one.reason, one.sent = "refused", told.get("reason_code", ""), set()
        elif event == "exchange.ack":
            outcome = told.get("outcome", "")
            one.state = "delivered" if outcome in ("delivered", "duplicate") else outcome
            one.sent = set(told.get("categories_sent", ())) if one.state == "delivered" else set()
        elif event == "exchange.permit":  # it read the dossier
            one.state, one.sent = "delivered", set(told.get("categories_sent", ()))
        elif not one.state:
            one.state, one.sent = "queued", set()
        one.kept = [(code, "", "", 0) for code in told.get("categories_redacted", ())]
    for row in rows:
        place_of = (row.exchange_id, row.recipient)
        if (known := found.get((*place_of, row.id)) or found.get((*place_of, ""))) is not None:
            known.document = known.document or row.document
            if row.withheld:
                known.kept = [(c, r, a, n) for c, r, a, n in json.loads(row.withheld)]
            if row.state in ("dead", "waiting"):
                known.state, known.reason = row.state, row.reason or ""
            if row.reason == REPLACED:
                known.state = REPLACED
    told_once = (one for one in found.values() if one.state != REPLACED)  # what waits in its place has a line
    return sorted(told_once, key=lambda one: one.at, reverse=True)


def _is_reading(told: Mapping[str, Any]) -> bool:
    return bool(told["event"] == "log.read")


def _is_receipt(told: Mapping[str, Any]) -> bool:
    """The receipt a body gives of a document taken from its mailbox: it sends nothing."""
    return bool(told["event"] == "exchange.ack" and told.get("outcome") == "acknowledged")


def _answer(view: View, sent: Sequence[_Sent]) -> str:
    """The answer in two sentences."""
    reached = Counter(one.recipient for one in sent if one.state == "delivered")
    refused = Counter(one.recipient for one in sent if one.refused)
    if not sent:
        return say("personne.reponse_rien")
    who = ", ".join(f"{view.body(body)} ({many('personne.envois', times)})" for body, times in reached.most_common())
    first = say("personne.reponse_recu", qui=who) if reached else say("personne.reponse_aucun")
    no = ", ".join(f"{view.body(body)} ({many('personne.refus', times)})" for body, times in refused.most_common())
    return f"{first} {say('personne.reponse_refus', qui=no) if refused else say('personne.reponse_sans_refus')}"


def _received(view: View, sent: Sequence[_Sent]) -> Table:
    law = view.gateway.policy.table
    rows: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"n": 0, "last": "", "sent": set(), "kept": {}, "why": Counter(), "no": 0}
    )
    for one in sent:
        row = rows[one.recipient]
        if one.state == "delivered":
            row["n"] += 1
            row["last"] = max(row["last"], one.at)
            row["sent"] |= one.sent
            row["why"][one.told.get("purpose", "")] += 1
        row["no"] += one.refused
        row["kept"] |= {(code, rule): (code, rule, article, 0) for code, rule, article, _ in one.kept}
    shown = [
        [
            view.body(body),
            Num(row["n"]),
            When(row["last"] or None),
            Lines([law_words.purpose(law, name) for name in row["why"]]),
            Lines([law_words.category(code) for code in sorted(row["sent"], key=lambda c: int(c[1:]))]),
            Lines(
                [
                    f"{law_words.category(code)} ({article or rule or say('personne.voir_suite')})"
                    for code, rule, article, _ in row["kept"].values()
                ]
            ),
            Badge(many("personne.refus", row["no"]), "bad") if row["no"] else Quiet(say("personne.aucun_refus")),
        ]
        for body, row in sorted(rows.items(), key=lambda item: -item[1]["n"])
    ]
    heads = says("personne", "organisme", "envois_titre", "dernier", "finalites", "categories", "retenu", "refus_titre")
    return Table("recu", say("personne.recu_legende"), heads, shown, say("personne.reponse_rien"), frozenset({1}))


def _bases(view: View, person: str) -> Iterator[Any]:
    """What she was told, agreed to, or objected to, with what each changed since."""
    law = view.gateway.policy.table
    rows = []
    for one in records(view, person):
        record = one["record"]
        rows.append(
            [
                word("base", record["kind"]),
                bases.state(one),
                law_words.purpose(law, record["purpose"]) if record["purpose"] else say("bases.toutes_finalites"),
                law_words.regime(law, record["regime"]),
                When(record["created_at"]),
                day(record["valid_until"]) if record["valid_until"] else say("bases.sans_terme"),
                law_words.texts(record["article"]),
            ]
        )
    heads = says("bases", "nature", "etat", "finalite", "regime", "depuis", "terme", "article")
    yield Title(say("personne.bases"))
    yield Table("bases", say("personne.bases_legende"), heads, rows, say("personne.bases_vide"))


def _timeline(view: View, people: Sequence[str], sent: Sequence[_Sent], entries: Sequence[journal.Logged]) -> list[Any]:
    only = view.asked("vue")
    only = only if only in ("refus", "lectures") else ""
    here = f"/console/personne/{view.at('ref')}"
    tabs = Tabs(
        say("personne.filtrer"),
        [
            (say("personne.vue_tout"), f"{here}#suite", not only),
            (say("personne.vue_refus"), f"{here}?vue=refus#suite", only == "refus"),
            (say("personne.vue_lectures"), f"{here}?vue=lectures#suite", only == "lectures"),
        ],
    )
    steps = [_step(view, one) for one in sent if only != "lectures" and (not only or one.refused or one.kept)]
    if only != "refus":
        steps += [_reading(view, one) for one in entries if _is_reading(one.fields)]
    if not only:
        steps += [
            *(_receipt(view, one) for one in entries if _is_receipt(one.fields)),
            *_arrivals(view, people),
            *(_law(view, one) for one in entries if one.fields["event"].split(".")[0] in ("basis", "consent", "right")),
        ]
    steps.sort(key=lambda step: step.at, reverse=True)
    blocks: list[Any] = [Title(say("personne.suite"), id="suite"), tabs]
    if len(steps) > LIMIT:
        blocks.append(Notice(say("personne.longue", n=LIMIT, total=number(len(steps))), "wait"))
    return [*blocks, Timeline(say("personne.suite"), steps[:LIMIT], say("personne.suite_vide"))]


def _step(view: View, one: _Sent) -> Step:
    law, told = view.gateway.policy.table, one.told
    badges = {"delivered": ("good", "delivered"), "refused": ("bad", "withheld"), "dead": ("bad", "dead")}
    tone, code = badges.get(one.state, ("wait", one.state if one.state in ("waiting", "queued") else "queued"))
    facts: list[tuple[str, Any]] = [
        (
            say("personne.finalite"),
            f"{law_words.purpose(law, told.get('purpose'))} ({law_words.regime(law, told.get('regime'))})",
        ),
        (say("personne.texte"), law_words.texts(told.get("article"))),
    ]
    if one.reason and one.state != "delivered":
        facts.append((say("personne.motif"), law_words.reason(law, one.reason)))
    if one.state == "delivered":
        facts.append((say("personne.envoye"), law_words.categories(one.sent)))
    if one.kept:
        kept = (
            one.kept
            if any(rule for _, rule, _, _ in one.kept)
            else [(c, _rule_for(view, told, c), a, n) for c, _, a, n in one.kept]
        )
        facts.append((say("personne.retenu"), law_words.withheld(law, kept)))
    if one.document:
        facts.append((say("personne.document"), view.document(one.document)))
    facts.append((say("personne.preuve"), say("personne.place", place=one.place)))
    links = [_opens(told["exchange_id"], one.at)] if "exchange_id" in told else []
    title = say("personne.de_vers", de=view.body(one.sender), vers=view.body(one.recipient))
    return Step(one.at, title, Badge(word("etat", code), tone), facts, links, tone)


def _opens(exchange_id: str, at: str) -> Link:
    return Link(say("personne.ouvrir"), f"/console/echanges/{exchange_id}", about=moment(at))


def _rule_for(view: View, told: dict[str, Any], code: str) -> str:
    """The rule of the decision that takes this category out."""
    for identifier in told.get("rule_ids", ()):
        rule = law_words.rule(view.gateway.policy.table, identifier)
        if isinstance(rule, Rule) and rule.effect == "redact" and code in rule.categories:
            return str(identifier)
    return "D05"


def _reading(view: View, logged: journal.Logged) -> Step:
    told = logged.fields
    role = word("role", told.get("agent_role"))
    who = view.body(told.get("sender_org", "")) or (say("personne.console", role=role) if "agent" in told else role)
    facts = [
        (say("personne.lecture"), word("lecture", told.get("outcome"))),
        (say("personne.preuve"), say("personne.place", place=f"{logged.log} n° {logged.idx}")),
    ]
    return Step(told["ts"], say("personne.consultee", qui=who), Badge(say("personne.consultation"), "quiet"), facts)


_ASKED = ("right.request", "right.answer")
_HER_WORD = {
    "basis.object",
    "right.request",
    *(f"consent.{name}" for name in ("give", "refuse", "withdraw", "reconfirm")),
}
"""What she said herself; the rest is what was told to her, or done for her."""


def _receipt(view: View, logged: journal.Logged) -> Step:
    told = logged.fields
    facts = [(say("personne.preuve"), say("personne.place", place=f"{logged.log} n° {logged.idx}"))]
    title = say("personne.accuse", qui=view.body(told.get("sender_org", "")))
    return Step(told["ts"], title, Badge(say("personne.recu"), "quiet"), facts)


def _law(view: View, logged: journal.Logged) -> Step:
    told = logged.fields
    law = view.gateway.policy.table
    facts = [
        (say("personne.finalite"), law_words.purpose(law, told.get("purpose"))),
        (say("personne.texte"), law_words.texts(told.get("article"))),
        (say("personne.preuve"), say("personne.place", place=f"{logged.log} n° {logged.idx}")),
    ]
    if step := word("demande_pas", told.get("outcome"), "") if told["event"] in _ASKED else "":
        facts.insert(0, (say("personne.pas"), step))
    tone = "bad" if told["event"] in ("basis.object", "consent.withdraw", "consent.refuse") else "good"
    whose = say("personne.choix" if told["event"] in _HER_WORD else "personne.droits_suivi")
    return Step(told["ts"], word("evenement", told["event"]), Badge(whose, tone), facts, tone=tone)


def _arrivals(view: View, people: Sequence[str]) -> Iterator[Step]:
    """What bodies said of her: who and when, never what."""
    subjects = [*people, *view.gateway.dossiers.homes(view.work, people[0])]
    c = assertion_set.c
    rows = view.connection.execute(
        select(c.source, c.document, c.exchange_id, c.received_at).where(c.subject_id.in_(subjects)).distinct()
    )
    seen: dict[tuple[str, str, str], str] = {}
    for source, document, exchange_id, at in rows:
        seen.setdefault((source, document, exchange_id), at)
    for (source, document, exchange_id), at in seen.items():
        yield Step(
            at,
            say("personne.recu_de", qui=view.body(source)),
            Badge(say("personne.recu"), "quiet"),
            [(say("personne.document"), view.document(document))],
            [_opens(exchange_id, at)],
        )
