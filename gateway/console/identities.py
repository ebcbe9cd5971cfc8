"""Doubtful persons, side by side and masked, for a human to decide."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, tuple_

from gateway import identity_review
from gateway.console.blocks import Badge, Facts, Form, Link, Page, Quiet, Table, Text, Title, When
from gateway.console.common import PAGE, Answer, Go, Place, View
from gateway.problems import Unknown
from gateway.storage.tables.record import identity_case
from gateway.words import say, says, word
from schemas import paths
from schemas.normalisation import name_key
from schemas.record import Current


def places() -> list[Place]:
    """The pages of the identity review."""
    role = ("integration",)
    return [
        Place("/console/identites", identities, role),
        Place("/console/identites/{id}", identity, role),
        Place("/console/identites/{id}/{action:str}", decide, role, "POST"),
    ]


def identities(view: View) -> Page:
    """Doubtful persons: is she the one we know?"""
    c = identity_case.c
    open_ = select(identity_case).where(c.state == "open", c.id > view.asked("apres")).order_by(c.id).limit(PAGE)
    rows = view.connection.execute(open_).all()
    shown = [
        [
            Link(say("identites.dossier", n=row.id[-6:]), f"/console/identites/{row.id}"),
            word("rapprochement", row.reason),
            Badge(say("identites.contradiction"), "bad") if row.rung == 0 else say("identites.rang", n=row.rung),
            When(row.created_at),
        ]
        for row in rows
    ]
    heads = says("identites", "cas", "raison", "force", "depuis")
    settled = select(identity_case).where(c.state != "open").order_by(c.decided_at.desc(), c.id.desc()).limit(PAGE)
    if before := view.asked("avant"):
        decided_at, _, id = before.partition("_")
        settled = settled.where(tuple_(c.decided_at, c.id) < tuple_(decided_at, id))
    decided = view.connection.execute(settled).all()
    past = [
        [
            Link(say("identites.dossier", n=row.id[-6:]), f"/console/identites/{row.id}"),
            Badge(word("identite_etat", row.state), "quiet"),
            When(row.decided_at),
        ]
        for row in decided
    ]
    return Page(
        say("identites.titre"),
        [
            Text(say("identites.intro"), lead=True),
            Table(
                "identites",
                say("identites.legende"),
                heads,
                shown,
                say("identites.vide"),
                older=view.further("identites", apres=rows[-1].id) if len(rows) == PAGE else "",
            ),
            Title(say("identites.decides")),
            Table(
                "decides",
                say("identites.decides_legende"),
                [say("identites.cas"), say("identites.decision"), say("identites.quand")],
                past,
                say("identites.decides_vide"),
                older=view.further("decides", avant=f"{decided[-1].decided_at}_{decided[-1].id}")
                if len(decided) == PAGE
                else "",
            ),
        ],
    )


_COMPARED = (
    "personne.nom_naissance",
    "personne.nom_usage",
    "personne.prenoms",
    "personne.date_naissance",
    "personne.lieu_naissance.code_insee",
    "personne.lieu_naissance.libelle",
    "personne.adresses[residence].code_postal",
    "identifiants[nir].valeur",
    "identifiants[ft_numero].valeur",
)


def identity(view: View) -> Page:
    """The two persons side by side, masked: what agrees, what differs."""
    case = _case(view)
    view.journal("log.read", outcome="identity-review", object_ref=case.id)
    new = view.gateway.dossiers.current(view.work, case.person_id)
    known = view.gateway.dossiers.current(view.work, case.candidate_id)
    return Page(
        say("identites.un_cas", n=case.id[-6:]),
        [_told(view, case, new, known), _compared(new, known), *_to_decide(case)],
        back=Link(say("identites.retour"), "/console/identites"),
    )


def _told(view: View, case: Any, new: Current, known: Current) -> Facts:
    """Why she is doubtful, what was decided, and who speaks of each."""
    between = say("personne.de_vers", de=_sources(view, new), vers=_sources(view, known))
    return Facts(
        [
            (say("identites.raison"), word("rapprochement", case.reason)),
            (say("identites.decision"), _decision(view, case)),
            *([(say("identites.quand"), When(case.decided_at))] if case.decided_at else []),
            (say("identites.sources"), between),
        ]
    )


def _compared(new: Current, known: Current) -> Table:
    """One line per field that either of them has."""
    rows = []
    for path in _COMPARED:
        one, other = (side[path].value if path in side else None for side in (new, known))
        if one is not None or other is not None:
            name = paths.FIELDS[paths.shape(path)].description
            rows.append([name, masked(path, one), masked(path, other), _agreement(one, other)])
    heads = says("identites", "donnee", "nouvelle", "connue", "accord")
    legend, empty = say("identites.comparaison_legende"), say("identites.comparaison_vide")
    return Table("comparaison", legend, heads, rows, empty, note=say("identites.masque"))


def _to_decide(case: Any) -> list[Form]:
    """The same or another while nobody said; what was found the same may be undone."""
    actions = {"open": ("meme", "differente"), "same": ("defaire",)}.get(case.state, ())
    return [
        Form(
            f"/console/identites/{case.id}/{action}",
            say(f"identites.{action}"),
            intro=say(f"identites.{action}_intro"),
            tone="" if action == "meme" else "second",
        )
        for action in actions
    ]


def _decision(view: View, case: Any) -> str:
    state = word("identite_etat", case.state)
    if case.state == "open":
        return state
    return say("identites.par_vous" if case.decided_by == view.session.agent else "identites.par_autre", etat=state)


def _case(view: View) -> Any:
    row = view.connection.execute(select(identity_case).where(identity_case.c.id == view.at("id"))).first()
    if row is None:
        raise Unknown("identity-case-unknown", "Check the id against the review queue.")
    return row


def _sources(view: View, current: Any) -> str:
    return ", ".join(sorted({view.body(fact.source) for fact in current.values()})) or "–"


def masked(path: str, value: Any) -> Any:
    """Enough to compare, too little to copy: initials and lengths, the year of a date, the ends of a number.

    No account of the console has a right to the values of a dossier: all who may decide see this much of both sides.
    """
    if value is None:
        return Quiet(say("identites.absente"))
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if "date" in path:
        return f"••/••/{text[:4]}"
    if path.startswith("identifiants["):
        return f"{text[:1]}{'•' * (len(text) - 3)}{text[-2:]}" if len(text) > 6 else "•" * len(text)
    if path.endswith(("code_insee", "code_postal")):
        return f"{text[:2]}•••"
    return " ".join(f"{part[:1]}{'•' * (len(part) - 1)}" if len(part) > 2 else "•" * len(part) for part in text.split())


def _agreement(one: Any, other: Any) -> Badge:
    if one is None or other is None:
        return Badge(say("identites.inconnu"), "quiet")
    if one == other:
        return Badge(say("identites.identique"), "good")
    close = name_key(str(one)) == name_key(str(other))
    return Badge(say("identites.proche" if close else "identites.differe"), "wait" if close else "bad")


def decide(view: View) -> Answer:
    """Same person, another one, or undo an earlier « same »."""
    action, case = view.at("action"), view.at("id")
    if action == "defaire":
        identity_review.reverse(view.work, view.gateway, case, view.session.agent)
        view.journal("identity.unmerge", object_ref=case)
        return Go("/console/identites", "defait")
    if action not in ("meme", "differente"):
        raise Unknown("action-unknown", "This page has no such action.")
    identity_review.decide(view.work, view.gateway, case, action == "meme", view.session.agent)
    view.journal("identity.merge" if action == "meme" else "identity.review", object_ref=case, outcome=_OUTCOME[action])
    return Go("/console/identites", f"identite_{action}")


_OUTCOME = {"meme": "same", "differente": "different"}
