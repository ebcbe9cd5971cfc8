"""The operator's files tried before they are applied: what one would change, followed live, then her decision."""

from __future__ import annotations

from typing import Any, Literal

from starlette.datastructures import UploadFile

from gateway import dry_run, journal
from gateway.console.blocks import (
    Badge,
    Facts,
    Field,
    Figures,
    Form,
    Link,
    Notice,
    Num,
    Page,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import Answer, Go, Place, View, to_correct
from gateway.problems import Unknown
from gateway.trial import MOVING, Trial, Trials, senders
from gateway.words import many, number, say, word

FILES = "/console/fichiers"
MAX_UPLOAD = 512 * 1024 * 1024
_TONES = {"trying": "wait", "tried": "wait", "refused": "bad", "applying": "wait", "applied": "good"}


def places() -> list[Place]:
    """Every page about files that wait for a decision."""
    role = ("operateur",)
    return [
        Place(f"{FILES}/essai", begin, role),
        Place(f"{FILES}/essai", receive, role, "POST", apart=True, upload=MAX_UPLOAD),
        Place(f"{FILES}/essai/{{id}}", trial, role),
        Place(f"{FILES}/essai/{{id}}/{{action:str}}", decide, role, "POST", apart=True),
    ]


def waiting(view: View) -> list[Any]:
    """For the page of files: those that wait, and the way to try another."""
    found = Trials(view.gateway).listed()
    rows = [
        [
            Link(view.body(one.sender), f"{FILES}/essai/{one.id}", about=one.id[-6:]),
            view.document(one.document),
            Badge(word("trial_etat", one.state), _TONES[one.state]),
            When(one.at),
        ]
        for one in found
    ]
    heads = [say("fichiers.expediteur"), say("fichiers.document"), say("fichiers.etat"), say("trial.recu")]
    listed = [Title(say("trial.attendent")), Table("essais", say("trial.legende"), heads, rows)] if rows else []
    return [Text(say("trial.intro")), Form(f"{FILES}/essai", say("trial.envoi"), method="get", small=True), *listed]


def begin(view: View) -> Page:
    """Choose a file and say whose it is."""
    return _form(view)


def _form(view: View, chosen: str = "", wrong_file: str = "", wrong_sender: str = "") -> Page:
    options = [
        (f"{body}|{document}", f"{view.body(body)} : {view.gateway.title(document)}")
        for body, document in senders(view.gateway)
    ]
    fields = [
        Field("envoi", say("trial.expediteur"), "select", value=chosen, options=options, error=wrong_sender),
        Field("fichier", say("trial.fichier"), "file", say("trial.fichier_aide", n=MAX_UPLOAD >> 20), required=True,
              error=wrong_file),
    ]  # fmt: skip
    page = Page(say("trial.titre"), [Text(say("trial.intro"), lead=True)], error=bool(wrong_file or wrong_sender))
    if page.error:
        page.status = 422
        page.blocks.append(to_correct(Link(wrong_sender or wrong_file, "#envoi" if wrong_sender else "#fichier")))
    page.blocks.append(Form(f"{FILES}/essai", say("trial.essayer"), fields, upload=True))
    page.back = Link(say("trial.retour"), FILES)
    return page


def receive(view: View) -> Answer:
    """Keep the file and begin to read it; nothing of it is written."""
    assert view.form is not None
    chosen, file = view.given("envoi"), view.form.get("fichier")
    sender, _, document = chosen.partition("|")
    if (sender, document) not in set(senders(view.gateway)):
        return _form(view, wrong_sender=say("trial.sans_expediteur"))
    if not isinstance(file, UploadFile) or not file.size:
        return _form(view, chosen, say("trial.sans_fichier"))
    if file.size > MAX_UPLOAD:
        return _form(view, chosen, say("trial.trop_grand", n=MAX_UPLOAD >> 20))
    with view.gateway.unit_of_work() as work:
        journal.append(
            work, "log.read", outcome="trial", sender_org=sender, document=document, size=file.size, **view.by
        )
    one = Trials(view.gateway).receive(sender, document, file.file)
    return Go(f"{FILES}/essai/{one.id}", "fichier_recu")


def trial(view: View) -> Page:
    """One file: how far it is, what it would change or changed, and what can be decided."""
    one = Trials(view.gateway).find(view.at("id"))
    page = Page(say("trial.un", organisme=view.body(one.sender)), back=Link(say("trial.retour"), FILES))
    page.moving = one.state in MOVING and not one.stopped
    page.blocks.append(Facts(_facts(view, one)))
    if one.stopped:
        page.blocks += [Notice(say("trial.arrete"), "bad"), _act(one, "reprendre")]
    elif one.state == "refused":
        page.blocks.append(Notice(say("trial.refuse", code=word("constat", one.code)), "bad"))
    elif one.code:
        page.blocks.append(Notice(say("trial.inapplique", code=word("constat", one.code)), "bad"))
    elif one.state in ("tried", "applied"):
        page.blocks += _found(one)
    if one.state == "tried":
        if one.held:
            page.blocks.append(Notice(say("trial.retenu", code=word("constat", one.held)), "bad"))
        page.blocks.append(_act(one, "appliquer", "trial.appliquer_retenu" if one.held else ""))
    if one.state not in MOVING or one.stopped:
        page.blocks.append(_act(one, "jeter", tone="second"))
    return page


def _facts(view: View, one: Trial) -> list[tuple[str, Any]]:
    told = [
        (say("fichiers.document"), view.document(one.document)),
        (say("fichiers.etat"), Badge(word("trial_etat", one.state), _TONES[one.state])),
        (say("trial.recu"), When(one.at)),
        (say("trial.taille"), say("trial.ko", n=number(max(1, one.size >> 10)))),
    ]
    if one.state in MOVING:
        told.append((say("fichiers.avancement"), say("trial.avance_sur", n=number(one.done), total=number(one.total))
                     if one.total else many("trial.avance", one.done)))  # fmt: skip
    return told


def _found(one: Trial) -> list[Any]:
    said = list(dry_run.sentences(one.changes)) or [say("trial.rien")]
    count = one.counts
    figures: list[tuple[str, Any, str]] = [
        (say("trial.lus"), Num(count["records"]), ""),
        (say("trial.personnes"), Num(count["persons"]), ""),
        (say("fichiers.acceptes"), Num(count["accepted"]), "good"),
        (say("fichiers.inchanges"), Num(count["unchanged"]), ""),
        (say("fichiers.quarantaine"), Num(count["quarantined"]), "wait" if count["quarantined"] else ""),
        (say("fichiers.rejetes"), Num(count["rejected"]), "bad" if count["rejected"] else ""),
    ]
    blocks: list[Any] = [
        Notice(say("trial.ferait" if one.state == "tried" else "trial.a_fait"), "good", said),
        Title(say("trial.compte")),
        Figures(figures),
    ]
    if one.notices:
        rows = [[word("constat", code), Num(times)] for code, times in sorted(one.notices.items())]
        heads = [say("trial.constat"), say("trial.nombre")]
        blocks += [
            Title(say("trial.remarques")),
            Table("remarques", say("trial.remarques_legende"), heads, rows, numbers=frozenset({1})),
        ]
    return blocks


def _act(one: Trial, action: str, words: str = "", tone: str = "") -> Form:
    return Form(f"{FILES}/essai/{one.id}/{action}", say(words or f"trial.{action}"), tone=tone)


_Act = Literal["again", "apply", "discard"]
_ACTIONS: dict[str, tuple[_Act, str, str]] = {
    "appliquer": ("apply", "applied", "fichier_applique"),
    "reprendre": ("again", "resumed", "fichier_repris"),
    "jeter": ("discard", "discarded", "fichier_jete"),
}


def decide(view: View) -> Answer:
    """Apply the file, go on after a crash, or throw it away; the decision is journaled before it is carried out."""
    id, action = view.at("id"), view.at("action")
    if action not in _ACTIONS:
        raise Unknown("trial-unknown", "List the files that wait.")
    trials, (act, told, done) = Trials(view.gateway), _ACTIONS[action]
    one = trials.ready(id, act)
    with view.gateway.unit_of_work() as work:
        journal.append(
            work, "admin.setting", sender_org=one.sender, document=one.document, outcome=told, object_ref=id, **view.by
        )
    getattr(trials, act)(id)
    return Go(FILES if action == "jeter" else f"{FILES}/essai/{id}", done)
