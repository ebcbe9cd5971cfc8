"""Requests of persons about their data: deadlines, answers, what past recipients were told and answered."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_
from starlette.datastructures import UploadFile

from gateway import basis, clock, journal, person_export, rights
from gateway.clock import today
from gateway.console.blocks import (
    Badge,
    Facts,
    Field,
    Form,
    Lines,
    Link,
    Notice,
    Page,
    Quiet,
    Table,
    Tabs,
    Text,
    Title,
    When,
)
from gateway.console.common import DPO, PAGE, Answer, Download, Go, Place, View, to_correct
from gateway.person_history import HERSELF, head_of, people_of
from gateway.problems import Conflict, Invalid, Unknown
from gateway.rights import Demand
from gateway.storage.tables.basis import basis_notification
from gateway.storage.tables.rights import rights_request as table
from gateway.words import many, moment, say, says, word
from schemas.normalisation import PARIS

MAX_LETTER = 5 * 1024 * 1024
_ANY_REFUSAL = {
    "manifestly-unfounded": "RGPD 12(5)",
    "excessive": "RGPD 12(5)",
    "identity-not-proved": "RGPD 12(6)",
    "not-identified": "RGPD 11(2)",
}
_OWN_REFUSALS = {
    "access": {"rights-of-others": "RGPD 15(4)"},
    "rectification": {"accurate": "RGPD 16"},
    "erasure": {"legal-obligation": "RGPD 17(3)(b)"},
    "limitation": {"no-ground": "RGPD 18(1)"},
    "objection": {"legitimate-grounds": "RGPD 21(1)", "excluded": "RGPD 23(1)"},
    "portability": {"public-task": "RGPD 20(3)", "rights-of-others": "RGPD 20(4)"},
}
"""Why a request is refused, and the text that allows it for this right; its words are `[refus_motif]`."""
CARRIED_OUT = ("rectification", "erasure", "limitation", "objection", "withdrawal")
"""Rights that change something here; access and portability give a copy."""


def places() -> list[Place]:
    """The pages of requests."""
    role = ("dpo",)
    return [
        Place("/console/droits", demands, role),
        Place("/console/personne/{ref}/demande", opening, role),
        Place("/console/personne/{ref}/demande", open_, role, "POST"),
        Place("/console/droits/{id}", demand, role),
        Place("/console/droits/{id}/copie", copy, role, fresh=True, writes=True),
        Place("/console/droits/{id}/portabilite", portable, role, fresh=True, writes=True),
        Place("/console/droits/{id}/reponse", answer, role, "POST", upload=MAX_LETTER),
    ]


# --- all of them ------------------------------------------------------------


def demands(view: View) -> Page:
    """Requests not answered, the most urgent first; on the other tab, those answered."""
    answered = view.asked("vue") == "repondues"
    after = view.asked("apres")
    waiting = table.c.state.in_(rights.WAITING)
    query = select(table.c.id).limit(PAGE)
    if answered:
        query = query.where(~waiting).order_by(table.c.id.desc())
        query = query.where(table.c.id < after) if after else query
    else:
        query = query.where(waiting).order_by(table.c.due_at, table.c.id)
        due_at, _, id = after.partition("_")
        query = query.where(tuple_(table.c.due_at, table.c.id) > tuple_(due_at, id)) if after else query
    found = [rights.get(view.work, id) for id in view.connection.scalars(query)]
    overdue = waiting & (func.coalesce(table.c.paused_at, view.work.now) > table.c.due_at)
    late = view.connection.scalar(select(func.count()).where(overdue)) if not answered else 0
    heads = says("droits", "demande", "personne", "recue", "echeance", "etat", "ou")
    page = Page(say("droits.titre"), [Text(say("droits.intro"), lead=True)])
    if late:
        page.blocks.append(Notice(many("droits.en_retard", late), "bad"))
    tabs = [
        (say("droits.en_cours"), "/console/droits", not answered),
        (say("droits.repondues"), "/console/droits?vue=repondues", answered),
    ]
    older = ""
    if len(found) == PAGE:
        last = found[-1]
        older = "/console/droits?" + (
            f"vue=repondues&apres={last.id}" if answered else f"apres={last.due_at}_{last.id}"
        )
    page.blocks += [
        Tabs(say("droits.filtrer"), tabs),
        Table(
            "demandes",
            say("droits.legende_repondues" if answered else "droits.legende"),
            heads,
            [_row(view, one) for one in found],
            say("droits.vide_repondues" if answered else "droits.vide"),
            older=older,
        ),
        Text(say("droits.ouvrir_ou")),
    ]
    return page


def _row(view: View, one: Demand) -> list[Any]:
    return [
        Link(word("droit", one.right), f"/console/droits/{one.id}", about=one.id[-6:]),
        say("bases.personne", n=view.reference(one.person_id)[:8]),
        When(one.received_at),
        due(one),
        state(one),
        body(view, one.body),
    ]


def state(one: Demand) -> Badge:
    tones = {"open": "wait", "identity": "wait", "done": "good", "refused": "quiet"}
    return Badge(word("demande_etat", one.state), tones[one.state])


def due(one: Demand) -> Lines:
    """The deadline, and what is left of it."""
    told: list[Any] = [When(one.due_at)]
    if one.state in rights.WAITING:
        days = (datetime.fromisoformat(one.due_at) - clock.now()).days
        if one.state == "identity":
            told.append(Quiet(say("droits.suspendu")))
        elif one.late:
            told.append(Badge(say("droits.depasse"), "bad"))
        else:
            told.append(Badge(many("droits.reste", days), "wait" if days < 8 else "quiet"))
    elif one.late:
        told.append(Badge(say("droits.repondu_tard"), "bad"))
    if one.extended_at:
        told.append(Quiet(say("droits.prolonge_le", quand=moment(one.extended_at)[:10])))
    return Lines(told)


def body(view: View, id: str) -> str:
    return say("droits.elle_meme") if id == HERSELF else view.body(id)


# --- opening one ------------------------------------------------------------


def opening(view: View) -> Page:
    """Write down what a person asked; the month runs from the day it was received."""
    _person(view)
    return _opening(view)


def _opening(view: View, wrong: str = "") -> Page:
    """The form, with what was typed when its day of reception is `wrong`."""
    fields = [
        Field(
            "droit",
            say("droits.droit"),
            "select",
            value=view.given("droit"),
            options=[(name, word("droit", name)) for name in rights.ARTICLES],
        ),
        Field(
            "recue",
            say("droits.recue"),
            "date",
            say("droits.recue_aide"),
            value=view.given("recue") or today(),
            error=wrong,
        ),
        Field(
            "ou",
            say("droits.ou"),
            "select",
            value=view.given("ou"),
            options=[(HERSELF, say("droits.elle_meme")), *((one.id, one.name) for one in view.gateway.bodies.values())],
        ),
    ]
    ref = view.at("ref")
    return Page(
        say("droits.ouvrir"),
        [
            *([to_correct(Link(wrong, "#recue"))] if wrong else []),
            Text(say("droits.ouvrir_intro"), lead=True),
            Form(
                f"/console/personne/{ref}/demande",
                say("droits.inscrire"),
                fields,
                hidden=[("numero", clock.new_id())],  # sent twice, the form is one request
            ),
        ],
        status=422 if wrong else 200,
        back=Link(say("droits.retour_personne"), f"/console/personne/{ref}"),
        error=bool(wrong),
    )


def _received(day: str) -> str:
    """Now, when it is today; else the beginning of that day in Paris."""
    if day in ("", today()):
        return ""
    try:
        return clock.instant(datetime.fromisoformat(day).replace(tzinfo=PARIS))
    except ValueError:
        return day  # the request says what is wrong with it


def _person(view: View) -> str:
    person = view.gateway.references.find(view.work, DPO, view.at("ref"))
    if person is None:
        raise Unknown("person-unknown", "Search the person again.")
    return person


def open_(view: View) -> Answer:
    """Inscribe the request; it is journaled as every step that follows."""
    person = _person(view)
    try:
        made = rights.receive(
            view.work,
            view.gateway,
            person,
            view.given("droit"),
            body=view.given("ou") if view.given("ou") in view.gateway.bodies else HERSELF,
            received_at=_received(view.given("recue")),
            identifier=view.given("numero") if clock.ID.fullmatch(view.given("numero")) else "",
        )
    except Invalid as refused:
        if refused.code not in ("received-later", "bad-instant"):
            raise
        return _opening(view, word("probleme", refused.code.replace("-", "_")))
    return Go(f"/console/droits/{made.id}", "demande")


# --- one of them ------------------------------------------------------------


def demand(view: View) -> Page:
    """One request: its clock, what to do, what was told to whom, and how to answer."""
    one = rights.get(view.work, view.at("id"))
    page = Page(say("droits.une", droit=word("droit", one.right)), back=Link(say("droits.retour"), "/console/droits"))
    page.blocks += [Facts(_facts(view, one)), *_to_do(view, one), Title(say("droits.prevenus")), _told(view, one)]
    if one.state in rights.WAITING:
        page.blocks += [Title(say("droits.repondre")), *_answers(view, one)]
    return page


def _facts(view: View, one: Demand) -> list[tuple[str, Any]]:
    told: list[tuple[str, Any]] = [
        (say("droits.personne"), view.person(one.person_id)),
        (say("droits.texte"), rights.ARTICLES[one.right]),
        (say("droits.etat"), state(one)),
        (say("droits.recue"), When(one.received_at)),
        (say("droits.ou"), body(view, one.body)),
        (say("droits.echeance"), due(one)),
    ]
    if one.answered_at:
        told.append((say("droits.repondue_le"), When(one.answered_at)))
    if one.state == "refused":
        told += [(say("droits.motif"), word("refus_motif", one.reason)), (say("droits.article"), one.article)]
    elif one.extended_at:
        told.append((say("droits.motif_prolongation"), word("prolongation", one.reason)))
    return told


def _to_do(view: View, one: Demand) -> list[Any]:
    """What carries the right out, or what was."""
    here = f"/console/droits/{one.id}"
    links: list[tuple[str, str]] = []
    if one.right in ("access", "portability") and not _may_be_given(one):
        return []
    if one.right == "access":
        links = [("droits.copie", f"{here}/copie")]
    elif one.right == "portability":
        links = [("droits.portabilite", f"{here}/portabilite")]
    elif one.right in CARRIED_OUT and one.state == "open":
        if rights.nothing_left(view.work, one):
            return [Title(say("droits.a_faire")), Text(say(f"droits.a_faire_apres_{one.right}"))]
        deciding = one.right == "objection" and pending_objections(view, one)
        links = [("droits.decider" if deciding else f"droits.executer_{one.right}", f"{here}/executer")]
    if not links:
        return []
    return [
        Title(say("droits.a_faire")),
        Text(say(f"droits.a_faire_{one.right}")),
        *(Facts([(say("droits.preuve_demandee"), Link(say(key), href))]) for key, href in links),
    ]


def records(view: View, person: str) -> list[dict[str, Any]]:
    """Her own records and those of the persons merged into her, newest first."""
    people = people_of(view.work, head_of(view.work, person))
    return sorted(
        (record for each in people for record in basis.list_(view.work, each)),
        key=lambda record: str(record["record"]["created_at"]),
        reverse=True,
    )


def pending_objections(view: View, one: Demand) -> list[dict[str, Any]]:
    """Her objections that are still to be decided, newest first."""
    return [
        each
        for each in records(view, one.person_id)
        if each["record"]["kind"] == "objection" and each["state"] == "raised"
    ]


def _told(view: View, one: Demand) -> Table:
    """What past recipients were told since she asked, and what each answered (GDPR 19)."""
    known = {record["record"]["record_id"] for record in records(view, one.person_id)}
    people = people_of(view.work, head_of(view.work, one.person_id))
    subjects = [view.gateway.keys.pseudonym(HERSELF, person) for person in people]
    for logged in journal.history(view.connection, subjects, limit=200):
        if logged.fields["event"].startswith("right."):
            known |= {logged.fields.get("exchange_id", ""), logged.fields.get("object_ref", "")}
    c = basis_notification.c
    query = select(basis_notification).where(c.record_id.in_(known), c.created_at >= one.received_at)
    rows = [
        [
            view.body(row.recipient),
            word("action", row.action),
            When(row.created_at),
            Badge(word("avis_etat", row.state), {"done": "good", "queued": "wait"}.get(row.state, "bad")),
            When(row.answered_at),
            str(json.loads(row.answer or "{}").get("article") or "–"),
        ]
        for row in view.connection.execute(query.order_by(c.id)).all()
    ]
    heads = says("droits", "destinataire", "demande_faite", "prevenu_le", "etat", "repondu_le", "reponse")
    return Table("prevenus", say("droits.prevenus_legende"), heads, rows, say("droits.prevenus_vide"))


def _answers(view: View, one: Demand) -> list[Form]:
    action = f"/console/droits/{one.id}/reponse"
    if one.state == "identity":
        return [Form(action, say("droits.identite_confirmee"), hidden=[("issue", "identity-confirmed")])]
    forms = [Form(action, say("droits.fait"), hidden=[("issue", "done")], intro=say("droits.fait_intro"))]
    if rights.nothing_left(view.work, one):
        return forms
    if not one.extended_at and not one.late:
        reasons = [(code, word("prolongation", code)) for code in ("complex", "many-requests")]
        forms.append(
            Form(
                action,
                say("droits.prolonger"),
                [Field("motif_prolongation", say("droits.motif_prolongation"), "select", options=reasons)],
                hidden=[("issue", "extended")],
                intro=say("droits.prolonger_intro"),
                tone="second",
            )
        )
    forms.append(
        Form(
            action,
            say("droits.identite"),
            hidden=[("issue", "identity-asked")],
            intro=say("droits.identite_intro"),
            tone="second",
        )
    )
    if rights.was_carried_out(view.work, view.gateway, one):
        return forms
    reasons = [(code, f"{word('refus_motif', code)} ({article})") for code, article in _refusals(one.right).items()]
    forms.append(
        Form(
            action,
            say("droits.refuser"),
            [
                Field("motif_refus", say("droits.motif"), "select", options=reasons),
                Field("lettre", say("droits.lettre"), "file", say("droits.lettre_aide"), required=True),
            ],
            hidden=[("issue", "refused")],
            intro=say("droits.refuser_intro"),
            tone="second",
            upload=True,
        )
    )
    return forms


def _refusals(right: str) -> dict[str, str]:
    return _OWN_REFUSALS.get(right, {}) | _ANY_REFUSAL


def answer(view: View) -> Answer:
    """What becomes of the request."""
    id, issue = view.at("id"), view.given("issue")
    work, gateway = view.work, view.gateway
    if issue == "done":
        rights.done(work, gateway, id)
    elif issue == "refused":
        digest = letter(view)
        if not digest:
            return _without_letter(view)
        reason = view.given("motif_refus")
        article = _refusals(rights.get(work, id).right).get(reason, "")
        rights.refuse(work, gateway, id, reason=reason, article=article, reason_hash=digest)
    elif issue == "extended":
        rights.extend(work, gateway, id, reason=view.given("motif_prolongation"))
    elif issue == "identity-asked":
        rights.check_identity(work, gateway, id)
    elif issue == "identity-confirmed":
        rights.identity_confirmed(work, gateway, id)
    else:
        raise Unknown("action-unknown", "This page has no such action.")
    return Go(f"/console/droits/{id}", f"reponse_{issue.replace('-', '_')}")


def _without_letter(view: View) -> Page:
    page = demand(view)
    page.blocks.insert(0, to_correct(Link(say("droits.lettre_manque"), "#lettre")))
    page.error, page.status = True, 422
    return page


def letter(view: View) -> str:
    """The digest of a written reason that was sent: the letter itself stays where it is filed."""
    sent = view.form.get("lettre") if view.form is not None else None
    content = sent.file.read() if isinstance(sent, UploadFile) else b""
    return hashlib.sha256(content).hexdigest() if content else ""


# --- copies ------------------------------------------------------------


def _may_be_given(one: Demand) -> bool:
    """Nothing of hers is handed over while it is in doubt who asks (GDPR 12(6)), nor once it was refused."""
    return one.state in ("open", "done")


def _to_give(view: View, right: str) -> Demand:
    one = rights.get(view.work, view.at("id"))
    if one.right != right or not _may_be_given(one):
        raise Conflict("request-state", "This request asks for no such copy, is refused, or who asks is in doubt.")
    return one


def copy(view: View) -> Answer:
    """Everything held about her: a page to read and the same as data; the access is journaled."""
    one = _to_give(view, "access")
    told = person_export.gather(view.work, view.gateway, one.person_id)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
        folder.writestr("page.html", person_export.page(told, view.gateway))
        folder.writestr("dossier.json", json.dumps(told, ensure_ascii=False, indent=1))
    return Download(packed.getvalue(), "application/zip", f"copie-{one.id[-12:]}.zip")


def portable(view: View) -> Answer:
    """What she provided under her consent, as data; or why the right does not apply here."""
    one = _to_give(view, "portability")
    told = person_export.portability(view.work, view.gateway, one.person_id)
    if told["applicable"]:
        content = json.dumps(told, ensure_ascii=False, indent=1).encode()
        return Download(content, "application/json", f"portabilite-{one.id[-12:]}.json")
    return Page(
        say("droits.portabilite"),
        [Notice(say("droits.portabilite_sans_objet"), "wait"), Text(f"{told['reason']} ({told['article']})")],
        back=Link(say("droits.retour_demande"), f"/console/droits/{one.id}"),
    )
