"""Information, consents, objections and limitations: what they stop, who was told, and the lifting of a limitation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, tuple_

from gateway import basis, notification, rights
from gateway.console import law_words
from gateway.console.blocks import Badge, Facts, Field, Form, Lines, Link, Num, Page, Table, Text, Title, When
from gateway.console.common import PAGE, Answer, Go, Place, View, to_correct
from gateway.console.rights import MAX_LETTER, letter
from gateway.person_history import head_of, people_of
from gateway.problems import Conflict, Unknown
from gateway.storage.tables.basis import basis_event, basis_record
from gateway.storage.tables.journal import journal_entry
from gateway.words import many, say, says, word

_STOPS = ("raised", "upheld", "withdrawn", "refused", "set")
_TONES = {
    "given": "good",
    "informed": "good",
    "raised": "wait",
    "upheld": "bad",
    "withdrawn": "bad",
    "refused": "bad",
    "expired": "wait",
    "set": "wait",
}


def places() -> list[Place]:
    """The pages of bases."""
    role, one = ("dpo",), "/console/bases/{id}"
    return [
        Place("/console/bases", bases, role),
        Place(one, limitation, role, fresh=True),
        Place(one, lift, role, "POST", fresh=True, upload=MAX_LETTER),
    ]


def bases(view: View) -> Page:
    """Information, consents and objections, and what each objection or withdrawal stopped since."""
    name = basis_event.c.name
    counted = view.connection.execute(select(name, func.count()).group_by(name).order_by(func.count().desc()))
    rows = [[word("base_evenement", one), Num(times)] for one, times in counted]
    heads = [say("bases.evenement"), say("bases.nombre")]
    return Page(
        say("bases.titre"),
        [
            Text(say("bases.intro"), lead=True),
            Title(say("bases.effets_titre")),
            _effects(view),
            Title(say("bases.prevenus_titre")),
            _told(view),
            Title(say("bases.tout_titre")),
            Table("bases", say("bases.legende"), heads, rows, say("bases.vide"), frozenset({1})),
        ],
    )


def state(told: Mapping[str, Any]) -> Lines:
    """The state of a record (`basis.read`), and the way to lift a limitation that holds."""
    code, record = told["state"], told["record"]
    lines: list[Any] = [Badge(word("base_etat", code), _TONES.get(code, "quiet"))]
    if (record["kind"], code) == ("limitation", "set"):
        lines.append(Link(say("bases.lever"), f"/console/bases/{record['record_id']}", about=record["record_id"][-6:]))
    return Lines(lines)


def _effects(view: View) -> Table:
    """Each decision of a person that stops something, or did, newest first, with the exchanges it stopped."""
    since = func.max(basis_event.c.recorded_at).label("since")
    of = basis_event.c.record_id
    stops = select(of, since).where(basis_event.c.name.in_(_STOPS)).group_by(of).subquery()
    query = (
        select(basis_record.c.id, basis_record.c.person_id, stops.c.since)
        .join(stops, stops.c.record_id == basis_record.c.id)
        .where(basis_record.c.kind != "protection")
        .order_by(stops.c.since.desc(), basis_record.c.id.desc())
        .limit(PAGE)
    )
    if before := view.asked("avant"):
        at, _, id = before.partition("_")
        query = query.where(tuple_(stops.c.since, basis_record.c.id) < tuple_(at, id))
    found = view.connection.execute(query).all()
    heads = says("bases", "de_qui", "nature", "etat", "finalite", "article", "depuis", "effet")
    return Table(
        "effets",
        say("bases.effets_legende"),
        heads,
        [_effect(view, row) for row in found],
        say("bases.effets_vide"),
        older=view.further("effets", avant=f"{found[-1].since}_{found[-1].id}") if len(found) == PAGE else "",
    )


def _effect(view: View, row: Any) -> list[Any]:
    people = people_of(view.work, head_of(view.work, row.person_id))
    subjects = [view.gateway.keys.pseudonym(body, one) for one in people for body in view.gateway.bodies]
    stopped = view.connection.scalar(
        select(func.count())
        .select_from(journal_entry)
        .where(
            journal_entry.c.subject.in_(subjects),
            journal_entry.c.event == "exchange.deny",
            journal_entry.c.ts >= row.since[:23] + "Z",
        )
    )
    told = basis.read(view.work, row.id)
    record = told["record"]
    return [
        view.person(row.person_id),
        word("base", record["kind"]),
        state(told),
        _purpose(view, record),
        law_words.texts(record["article"]),
        When(row.since),
        Badge(many("bases.bloques", stopped or 0), "bad" if stopped else "quiet"),
    ]


def _purpose(view: View, record: Mapping[str, Any]) -> str:
    law = view.gateway.policy.table
    return law_words.purpose(law, record["purpose"]) if record["purpose"] else say("bases.toutes_finalites")


def _told(view: View) -> Table:
    tasks = notification.dpo_tasks(view.work, after=view.asked("apres"), limit=PAGE)
    rows = [
        [
            view.body(one.recipient),
            word("action", one.action),
            Badge(word("avis_etat", one.state), "bad"),
            law_words.purpose(view.gateway.policy.table, one.content.get("purpose")),
            Num(one.attempts),
            When(one.next_at),
        ]
        for one in tasks
    ]
    heads = says("bases", "destinataire", "demande", "etat", "finalite", "essais", "prochain")
    return Table(
        "prevenus",
        say("bases.prevenus_legende"),
        heads,
        rows,
        say("bases.prevenus_vide"),
        frozenset({4}),
        older=view.further("prevenus", apres=tasks[-1].id) if len(tasks) == PAGE else "",
    )


# --- a limitation, and its end ------------------------------------------------------------


def limitation(view: View) -> Page:
    """One limitation, who was told of it, and how to lift it: she is informed before (GDPR 18(3))."""
    told = _limitation(view)
    record = told["record"]
    page = Page(say("bases.limitation"), back=Link(say("bases.retour"), "/console/bases"))
    page.blocks += [
        Facts(
            [
                (say("bases.de_qui"), view.person(record["person_id"])),
                (say("bases.etat"), Badge(word("base_etat", told["state"]), _TONES.get(told["state"], "quiet"))),
                (say("bases.finalite"), _purpose(view, record)),
                (say("bases.article"), law_words.texts(record["article"])),
                *((say(f"bases.{one['name']}"), When(one["recorded_at"])) for one in told["events"]),
            ]
        ),
        Title(say("droits.prevenus")),
        _answers(view, told),
    ]
    if told["state"] == "set":
        field = Field("lettre", say("bases.lettre"), "file", say("bases.lettre_aide"), required=True)
        here = f"/console/bases/{record['record_id']}"
        page.blocks += [
            Title(say("bases.lever_titre")),
            Form(here, say("bases.lever_titre"), [field], intro=say("bases.lever_intro"), upload=True),
        ]
    return page


def _limitation(view: View) -> dict[str, Any]:
    told = basis.read(view.work, view.at("id"))
    if told["record"]["kind"] != "limitation":
        raise Unknown("basis-unknown", "Only a limitation has a page.")
    return told


def _answers(view: View, told: Mapping[str, Any]) -> Table:
    rows = [
        [
            view.body(one["recipient"]),
            word("action", one["action"]),
            Badge(word("avis_etat", one["state"]), {"done": "good", "queued": "wait"}.get(one["state"], "bad")),
        ]
        for one in told["notifications"]
    ]
    heads = says("bases", "destinataire", "demande", "etat")
    return Table("prevenus", say("bases.limitation_legende"), heads, rows, say("bases.limitation_vide"))


def lift(view: View) -> Answer:
    """The limitation ends; past recipients are told that they may use the data again."""
    id = _limitation(view)["record"]["record_id"]
    digest = letter(view)
    if not digest:
        page = limitation(view)
        page.blocks.insert(0, to_correct(Link(say("bases.lettre_manque"), "#lettre")))
        page.error, page.status = True, 422
        return page
    try:
        told = rights.lift(view.work, view.gateway, id, reason_hash=digest)
    except Conflict:  # lifted already: the form was sent twice, or another account was first
        return Go(f"/console/bases/{id}", "deja_fait")
    return Go(f"/console/bases/{id}", "limitation_levee", len(told.notifications))
