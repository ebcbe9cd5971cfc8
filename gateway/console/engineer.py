"""The pages of the integration engineer: quarantine, identities, divergences, connectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from connectors.manifest import CRITERIA, ManifestError, installed
from gateway import merge, quarantine
from gateway.console import explorer, mending
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Figures,
    Form,
    Lines,
    Link,
    Notice,
    Num,
    Page,
    Quiet,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import PAGE, Answer, Go, Place, View
from gateway.console.words import many, number, say, word
from gateway.problems import Unknown
from gateway.storage.tables.record import assertion_set, identity_case, membership, person
from gateway.storage.tables.record import quarantine as table
from schemas import paths
from schemas.normalisation import name_key


def places() -> list[Place]:
    """Every page of this role."""
    role = ("integration",)
    return [
        Place("/console/quarantaine", waiting, role),
        Place("/console/quarantaine/liste", findings, role),
        Place("/console/quarantaine/{id}", finding, role),
        Place("/console/quarantaine/{id}/valeur", reveal, role, "POST", fresh=True),
        Place("/console/quarantaine/{id}/valeur", reveal, role, fresh=True, writes=True),
        Place("/console/quarantaine/rejouer", replay_all, role, "POST"),
        Place("/console/quarantaine/{id}/{action:str}", settle, role, "POST"),
        Place("/console/identites", identities, role),
        Place("/console/identites/{id}", identity, role, writes=True),
        Place("/console/identites/{id}/{action:str}", decide, role, "POST"),
        Place("/console/divergences", divergences, role, writes=True),
        Place("/console/divergences/{ref}", one_divergence, role, fresh=True, writes=True),
        Place("/console/connecteurs", connectors, role),
        Place("/console/connecteurs/{id}", connector, role),
        *explorer.places(),
    ]


# --- quarantine ------------------------------------------------------------


def waiting(view: View) -> Page:
    """What was not understood, by document, code and place: what to fix first."""
    c = table.c
    rows = view.connection.execute(
        select(c.sender, c.document, c.code, c.path, c.severity, c.detail, func.count(), func.min(c.created_at))
        .where(c.state == "open")
        .group_by(c.sender, c.document, c.code, c.path, c.severity, c.detail)
    ).all()
    grouped: dict[tuple[str, ...], list[Any]] = {}
    for sender, document, code, path, severity, detail, times, oldest in rows:
        cell = grouped.setdefault((sender, document, code, _unranked(path), severity, detail), [0, oldest])
        cell[0] += times
        cell[1] = min(cell[1], oldest)
    shown = [
        [
            Link(word("constat", code), _list_address(document, code, path), about=path),
            Code(document),
            view.body(sender),
            Code(path),
            detail and Code(detail),
            Badge(word("gravite", severity), "bad" if severity == "reject" else "wait"),
            Num(times),
            When(oldest),
        ]
        for (sender, document, code, path, severity, detail), (times, oldest) in sorted(
            grouped.items(), key=lambda item: -item[1][0]
        )
    ]
    heads = [
        say(f"quarantaine.{key}")
        for key in ("constat", "document", "expediteur", "chemin", "table", "gravite", "nombre", "depuis")
    ]
    settled = dict(view.connection.execute(select(c.state, func.count()).group_by(c.state)).tuples().all())
    return Page(
        say("quarantaine.titre"),
        [
            Text(say("quarantaine.intro"), lead=True),
            Figures(
                [
                    (word("quarantaine_etat", state), Num(settled.get(state, 0)), tone)
                    for state, tone in (("open", "wait"), ("replayed", "good"), ("dismissed", ""))
                ]
            ),
            Table("quarantaine", say("quarantaine.legende"), heads, shown, say("quarantaine.vide"), frozenset({6})),
        ],
    )


def _unranked(path: str) -> str:
    """A partner's path without ranks, so that the same place is one line."""
    return mending.BRACKETS.sub("", path)


def _list_address(document: str, code: str, path: str) -> str:
    from urllib.parse import urlencode

    return "/console/quarantaine/liste?" + urlencode({"document": document, "code": code, "chemin": path})


def _matching(view: View, document: str, code: str, path: str) -> list[Any]:
    query = select(table).where(table.c.state == "open", table.c.document == document, table.c.code == code)
    rows = view.connection.execute(query.order_by(table.c.id).limit(2_000)).all()
    return [row for row in rows if _unranked(row.path) == path]


def findings(view: View) -> Page:
    """Every open finding of one place, one line per record, and what to do with all of them."""
    document, code, path = view.asked("document"), view.asked("code"), view.asked("chemin")
    rows = _matching(view, document, code, path)
    known = (
        sum(mending.knows(view.work, view.gateway, row) for row in rows[:PAGE])
        if rows and rows[0].severity != "reject"
        else 0
    )
    page = Page(
        say("quarantaine.un_constat", constat=word("constat", code)),
        back=Link(say("quarantaine.retour"), "/console/quarantaine"),
    )
    page.blocks.append(
        Facts(
            [
                (say("quarantaine.document"), Code(document)),
                (say("quarantaine.chemin"), Code(path)),
                (say("quarantaine.nombre"), Num(len(rows))),
            ]
        )
    )
    if known:
        page.blocks.append(Notice(many("quarantaine.connus", known), "good"))
        page.blocks.append(
            Form(
                "/console/quarantaine/rejouer",
                many("quarantaine.rejouer_tout", known),
                hidden=[("document", document), ("code", code), ("chemin", path)],
            )
        )
    elif rows:
        reject = rows[0].severity == "reject"
        page.blocks.append(Notice(say("quarantaine.rejet" if reject else "quarantaine.inconnu"), "wait"))
    shown = [
        [
            Link(say("quarantaine.ligne", n=number(row.position)), f"/console/quarantaine/{row.id}", about=row.id[-6:]),
            view.body(row.sender),
            When(row.created_at),
            Code(row.path),
            Code(row.exchange_id[-12:]),
        ]
        for row in rows[:PAGE]
    ]
    heads = [say(f"quarantaine.{key}") for key in ("enregistrement", "expediteur", "depuis", "chemin", "echange")]
    note = many("quarantaine.autres", len(rows) - PAGE) if len(rows) > PAGE else ""
    page.blocks.append(
        Table("constats", say("quarantaine.liste_legende"), heads, shown, say("quarantaine.vide"), note=note)
    )
    return page


def finding(view: View) -> Page:
    """One finding: where it was met, and what may be done; its value stays sealed."""
    row = _row(view)
    return _finding_page(view, row, None)


def _row(view: View) -> Any:
    row = view.connection.execute(select(table).where(table.c.id == view.at("id"))).first()
    if row is None:
        raise Unknown("quarantine-unknown", "Check the id against the quarantine list.")
    return row


def _finding_page(view: View, row: Any, raw: str | None) -> Page:
    back = Link(say("quarantaine.retour_liste"), _list_address(row.document, row.code, _unranked(row.path)))
    page = Page(say("quarantaine.un_constat", constat=word("constat", row.code)), back=back)
    open_ = row.state == "open"
    page.blocks.append(
        Facts(
            [
                (say("quarantaine.etat"), Badge(word("quarantaine_etat", row.state), "wait" if open_ else "good")),
                (say("quarantaine.document"), Code(row.document)),
                (say("quarantaine.expediteur"), view.body(row.sender)),
                (say("quarantaine.enregistrement"), say("quarantaine.ligne", n=number(row.position))),
                (say("quarantaine.chemin"), Code(row.path)),
                (say("quarantaine.table"), Code(row.detail) if row.detail else "–"),
                (say("quarantaine.gravite"), word("gravite", row.severity)),
                (say("quarantaine.depuis"), When(row.created_at)),
                (
                    say("quarantaine.valeur"),
                    Quiet(say("quarantaine.scellee")) if raw is None else Code(raw or say("quarantaine.sans_valeur")),
                ),
            ]
        )
    )
    here = f"/console/quarantaine/{row.id}"
    if raw is None and row.raw is not None:
        page.blocks.append(Text(say("quarantaine.voir_intro")))
        page.blocks.append(Form(f"{here}/valeur", say("quarantaine.voir"), hidden=[("retour", f"{here}/valeur")]))
    if open_:
        page.blocks.append(Title(say("quarantaine.que_faire")))
        known = row.severity != "reject" and mending.knows(view.work, view.gateway, row)
        if known:
            page.blocks.append(
                Form(f"{here}/rejouer", say("quarantaine.rejouer"), intro=say("quarantaine.rejouer_intro"))
            )
        elif row.severity != "reject":
            page.blocks.append(Text(say("quarantaine.inconnu")))
        page.blocks.append(
            Form(f"{here}/relire", say("quarantaine.relire"), intro=say("quarantaine.relire_intro"), tone="second")
        )
        page.blocks.append(
            Form(f"{here}/ecarter", say("quarantaine.ecarter"), intro=say("quarantaine.ecarter_intro"), tone="second")
        )
    return page


def reveal(view: View) -> Page:
    """The value that was not understood, for an account that has just proved who it is; the reading is journaled."""
    row = _row(view)
    view.journal("log.read", outcome="quarantine-value", object_ref=row.id, sender_org=row.sender)
    return _finding_page(view, row, quarantine.raw(view.work, view.gateway, row.id))


def settle(view: View) -> Answer:
    """Replay, read at the next sending, or set aside one finding."""
    row, action = _row(view), view.at("action")
    back = _list_address(row.document, row.code, _unranked(row.path))
    if action == "rejouer":
        mending.replay(view.work, view.gateway, row.id)
        return Go(back, "rejoue")
    if action == "relire":
        mending.read_next_time(view.work, view.gateway, row.id)
        return Go(back, "relu")
    if action == "ecarter":
        mending.dismiss(view.work, row.id)
        return Go(back, "ecarte")
    raise Unknown("action-unknown", "This page has no such action.")


def replay_all(view: View) -> Answer:
    """Replay every finding of one place that the tables understand today."""
    done = 0
    for row in _matching(view, view.given("document"), view.given("code"), view.given("chemin"))[:PAGE]:
        if mending.knows(view.work, view.gateway, row):
            mending.replay(view.work, view.gateway, row.id)
            done += 1
    return Go("/console/quarantaine", "rejoue", done)


# --- identities ------------------------------------------------------------


def identities(view: View) -> Page:
    """Doubtful persons: is she the one we know?"""
    c = identity_case.c
    rows = view.connection.execute(select(identity_case).where(c.state == "open").order_by(c.id).limit(PAGE)).all()
    shown = [
        [
            Link(say("identites.dossier", n=row.id[-6:]), f"/console/identites/{row.id}"),
            word("rapprochement", row.reason),
            Badge(say("identites.contradiction"), "bad") if row.rung == 0 else say("identites.rang", n=row.rung),
            When(row.created_at),
        ]
        for row in rows
    ]
    heads = [say(f"identites.{key}") for key in ("cas", "raison", "force", "depuis")]
    settled = view.connection.execute(
        select(identity_case).where(c.state != "open").order_by(c.decided_at.desc()).limit(20)
    ).all()
    past = [
        [
            Link(say("identites.dossier", n=row.id[-6:]), f"/console/identites/{row.id}"),
            Badge(word("identite_etat", row.state), "quiet"),
            When(row.decided_at),
        ]
        for row in settled
    ]
    return Page(
        say("identites.titre"),
        [
            Text(say("identites.intro"), lead=True),
            Table("identites", say("identites.legende"), heads, shown, say("identites.vide")),
            Title(say("identites.decides")),
            Table(
                "decides",
                say("identites.decides_legende"),
                [say("identites.cas"), say("identites.decision"), say("identites.quand")],
                past,
                say("identites.decides_vide"),
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
    left = view.gateway.dossiers.current(view.work, case.person_id)
    right = view.gateway.dossiers.current(view.work, case.candidate_id)
    rows = []
    for path in _COMPARED:
        one, other = (side[path].value if path in side else None for side in (left, right))
        if one is None and other is None:
            continue
        rows.append(
            [
                paths.FIELDS[paths.shape(path)].description,
                masked(path, one),
                masked(path, other),
                _agreement(one, other),
            ]
        )
    here = f"/console/identites/{case.id}"
    page = Page(say("identites.un_cas", n=case.id[-6:]), back=Link(say("identites.retour"), "/console/identites"))
    heads = [say(f"identites.{key}") for key in ("donnee", "nouvelle", "connue", "accord")]
    page.blocks += [
        Facts(
            [
                (say("identites.raison"), word("rapprochement", case.reason)),
                (say("identites.decision"), word("identite_etat", case.state)),
                (
                    say("identites.sources"),
                    say("personne.de_vers", de=_sources(view, left), vers=_sources(view, right)),
                ),
            ]
        ),
        Table(
            "comparaison",
            say("identites.comparaison_legende"),
            heads,
            rows,
            say("identites.comparaison_vide"),
            note=say("identites.masque"),
        ),
    ]
    if case.state == "open":
        page.blocks += [
            Form(f"{here}/meme", say("identites.meme"), intro=say("identites.meme_intro")),
            Form(
                f"{here}/differente",
                say("identites.differente"),
                intro=say("identites.differente_intro"),
                tone="second",
            ),
        ]
    elif case.state == "same":
        page.blocks.append(
            Form(f"{here}/defaire", say("identites.defaire"), intro=say("identites.defaire_intro"), tone="second")
        )
    return page


def _case(view: View) -> Any:
    row = view.connection.execute(select(identity_case).where(identity_case.c.id == view.at("id"))).first()
    if row is None:
        raise Unknown("identity-case-unknown", "Check the id against the review queue.")
    return row


def _sources(view: View, current: Any) -> str:
    return ", ".join(sorted({view.body(fact.source) for fact in current.values()})) or "–"


def masked(path: str, value: Any) -> Any:
    """Enough to compare, too little to copy: initials and lengths, the year of a date, the ends of a number."""
    if value is None:
        return Quiet(say("identites.absente"))
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if "date" in path:
        return f"••/••/{text[:4]}"
    if path.startswith("identifiants["):
        return f"{text[:1]}{'•' * max(0, len(text) - 3)}{text[-2:]}"
    if path.endswith(("code_insee", "code_postal")):
        return f"{text[:2]}•••"
    return " ".join(f"{part[:1]}{'•' * (len(part) - 1)}" for part in text.split())


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
    agent, identity_ = view.session.agent, view.gateway.identity
    if action == "defaire":
        identity_.reverse(view.work, case, agent)
        view.journal("identity.unmerge", object_ref=case)
        return Go("/console/identites", "defait")
    if action not in ("meme", "differente"):
        raise Unknown("action-unknown", "This page has no such action.")
    identity_.decide(view.work, case, action == "meme", agent)
    view.journal("identity.merge" if action == "meme" else "identity.review", object_ref=case, outcome=_OUTCOME[action])
    return Go("/console/identites", f"identite_{action}")


_OUTCOME = {"meme": "same", "differente": "different"}


# --- divergences ------------------------------------------------------------

ENGINEER = "integration"
"""The body in whose name engineers refer to persons: not the references of the data protection officer."""
_SCANNED = 40
"""Persons looked at on one page: each is decrypted."""


def divergences(view: View) -> Page:
    """Where two bodies hold different values of one person, by field; the values stay hidden."""
    after = view.asked("apres")
    people = _several_sources(view, after)
    fields: Counter[tuple[str, str, str]] = Counter()
    rows = []
    for one in people:
        found = merge.divergences(view.gateway.dossiers.said(view.work, one))
        found = [divergence for divergence in found if len({fact.source for fact in divergence.facts}) > 1]
        for divergence in found:
            chosen, *others = divergence.facts
            fields[paths.shape(divergence.path), chosen.source, others[0].source] += 1
        if found:
            ref = view.gateway.references.give(view.work, ENGINEER, one)
            rows.append(
                [
                    Link(say("bases.personne", n=ref[:8]), f"/console/divergences/{ref}"),
                    Num(len(found)),
                    Lines(
                        [Code(_quiet_path(one.path)) for one in found[:4]]
                        + ([Quiet(many("divergences.autres", len(found) - 4))] if len(found) > 4 else [])
                    ),
                ]
            )
    summary = [
        [paths.FIELDS[shape].description, Code(shape), view.body(chosen), view.body(other), Num(times)]
        for (shape, chosen, other), times in fields.most_common(PAGE)
    ]
    return Page(
        say("divergences.titre"),
        [
            Text(say("divergences.intro"), lead=True),
            Title(say("divergences.par_champ")),
            Table(
                "champs",
                say("divergences.champs_legende"),
                [say(f"divergences.{key}") for key in ("donnee", "chemin", "retenue", "autre", "nombre")],
                summary,
                say("divergences.vide"),
                frozenset({4}),
            ),
            Title(say("divergences.par_personne")),
            Table(
                "personnes",
                say("divergences.personnes_legende"),
                [say(f"divergences.{key}") for key in ("personne", "nombre", "champs")],
                rows,
                say("divergences.vide"),
                frozenset({1}),
                older=f"/console/divergences?apres={people[-1]}" if len(people) == _SCANNED else "",
            ),
        ],
    )


def _quiet_path(path: str) -> str:
    """A path without keys that may identify someone."""
    return paths.shape(path) if path.startswith(("personne.telephones", "personne.courriels", "identifiants")) else path


def _several_sources(view: View, after: str) -> list[str]:
    """Persons of whom at least two bodies speak, themselves or through their household."""
    a, m = assertion_set.c, membership.c
    own = select(a.subject_id.label("id"), a.source).where(a.superseded_at.is_(None))
    home = (
        select(m.person_id.label("id"), a.source)
        .select_from(assertion_set.join(membership, m.foyer_id == a.subject_id))
        .where(a.superseded_at.is_(None), m.until.is_(None))
    )
    both = own.union(home).subquery()
    query = (
        select(both.c.id)
        .join(person, person.c.id == both.c.id)
        .where(both.c.id > after, person.c.merged_into.is_(None), person.c.erased_at.is_(None))
        .group_by(both.c.id)
        .having(func.count(both.c.source.distinct()) > 1)
        .order_by(both.c.id)
        .limit(_SCANNED)
    )
    return list(view.connection.scalars(query))


def one_divergence(view: View) -> Page:
    """The values side by side, for an account that has just proved who it is; the reading is journaled."""
    who = view.gateway.references.find(view.work, ENGINEER, view.at("ref"))
    if who is None:
        raise Unknown("person-unknown", "Read the list again.")
    view.journal("log.read", outcome="divergences", subject=view.reference(who))
    rows = []
    for one in merge.divergences(view.gateway.dossiers.said(view.work, who)):
        chosen, *others = one.facts
        rows.append(
            [
                paths.FIELDS[paths.shape(one.path)].description,
                Code(_quiet_path(one.path)),
                Lines([_value(chosen.value), Quiet(f"{view.body(chosen.source)}, {chosen.asserted_at[:10]}")]),
                Lines(
                    [
                        item
                        for fact in others
                        for item in (_value(fact.value), Quiet(f"{view.body(fact.source)}, {fact.asserted_at[:10]}"))
                    ]
                ),
            ]
        )
    heads = [say(f"divergences.{key}") for key in ("donnee", "chemin", "valeur_retenue", "autres_valeurs")]
    return Page(
        say("divergences.une", n=view.at("ref")[:8]),
        [
            Notice(say("divergences.trace"), "wait"),
            Table("valeurs", say("divergences.valeurs_legende"), heads, rows, say("divergences.vide")),
        ],
        back=Link(say("divergences.retour"), "/console/divergences"),
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return say("decision.oui") if value else say("decision.non")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# --- connectors ------------------------------------------------------------


def connectors(view: View) -> Page:
    """Installed connectors: what they speak, how, and what was proved of them."""
    rows = []
    for id, one in sorted(installed().items()):
        manifest = one.manifest
        rows.append(
            [
                Link(manifest.name, f"/console/connecteurs/{id}"),
                _grade(one),
                word("transport", manifest.transport),
                word("role_organisme", manifest.role),
                Num(len(manifest.document)),
                Lines(sorted(body.name for body in view.gateway.bodies.values() if body.connector == id)),
            ]
        )
    heads = [say(f"connecteurs.{key}") for key in ("nom", "grade", "transport", "role", "documents", "organismes")]
    grades = [[word("grade", grade), Lines(list(criteria.values()))] for grade, criteria in CRITERIA.items()]
    return Page(
        say("connecteurs.titre"),
        [
            Text(say("connecteurs.intro"), lead=True),
            Table("connecteurs", say("connecteurs.legende"), heads, rows, numbers=frozenset({4})),
            Title(say("connecteurs.grades")),
            Table(
                "grades",
                say("connecteurs.grades_legende"),
                [say("connecteurs.grade"), say("connecteurs.demande")],
                grades,
            ),
        ],
    )


def _grade(one: Any) -> Badge:
    try:
        grade = one.quality.grade
    except ManifestError:
        return Badge(say("connecteurs.sans_grade"), "wait")
    return Badge(word("grade", grade), "good") if grade else Badge(say("connecteurs.sans_grade"), "wait")


def connector(view: View) -> Page:
    """One connector: its documents, its criteria with their evidence, what must be configured."""
    one = installed().get(view.at("id"))
    if one is None:
        raise Unknown("connector-unknown", "List the connectors.")
    manifest = one.manifest
    page = Page(manifest.name, back=Link(say("connecteurs.retour"), "/console/connecteurs"))
    documents = [
        [
            document.title,
            Code(document.id),
            Lines([word("direction", way) for way in document.direction]),
            document.format.upper(),
            Lines([Link(name, f"/console/correspondances/{name}") for name in document.mapping]),
            document.source or "–",
        ]
        for document in manifest.document
    ]
    settings = [
        [
            Code(s.name),
            s.description,
            say("decision.oui") if s.required else say("decision.non"),
            say("decision.oui") if s.secret else say("decision.non"),
        ]
        for s in manifest.setting
    ]
    page.blocks += [
        Facts(
            [
                (say("connecteurs.grade"), _grade(one)),
                (say("connecteurs.transport"), word("transport", manifest.transport)),
                (say("connecteurs.source"), manifest.source),
            ]
        ),
        Title(say("connecteurs.documents")),
        Table(
            "documents",
            say("connecteurs.documents_legende"),
            [say(f"connecteurs.{key}") for key in ("titre_col", "id", "sens", "format", "correspondances", "source")],
            documents,
        ),
        Title(say("connecteurs.criteres")),
        *_criteria(one),
        Title(say("connecteurs.reglages")),
        Table(
            "reglages",
            say("connecteurs.reglages_legende"),
            [say(f"connecteurs.{key}") for key in ("reglage", "description", "requis", "secret")],
            settings,
            say("connecteurs.sans_reglage"),
        ),
    ]
    return page


def _criteria(one: Any) -> Iterator[Any]:
    try:
        quality = one.quality.criteria
    except ManifestError:
        yield Notice(say("connecteurs.sans_preuve"), "wait")
        return
    rows = []
    for grade, criteria in CRITERIA.items():
        for name, text in criteria.items():
            found = quality[name]
            tone, label = (
                ("bad", "manque") if found.missing else ("quiet", "exempte") if found.exempt else ("good", "tenu")
            )
            rows.append(
                [
                    text,
                    word("grade", grade),
                    Badge(say(f"connecteurs.{label}"), tone),
                    found.missing or found.exempt or Lines(found.evidence),
                ]
            )
    heads = [say(f"connecteurs.{key}") for key in ("critere", "grade", "etat", "preuve")]
    yield Table("criteres", say("connecteurs.criteres_legende"), heads, rows)
