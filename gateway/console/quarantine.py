"""What was not understood: where, how many times, and what to do with it once the mapping is fixed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from sqlalchemy import func, select

from gateway import quarantine, replay
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Figures,
    Form,
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
from gateway.problems import Conflict, Unknown
from gateway.storage.tables.record import quarantine as table
from gateway.words import many, number, say, says, unranked, word


def places() -> list[Place]:
    """The pages of the quarantine."""
    role = ("integration",)
    return [
        Place("/console/quarantaine", waiting, role),
        Place("/console/quarantaine/liste", findings, role),
        Place("/console/quarantaine/{id}", finding, role),
        Place("/console/quarantaine/{id}/valeur", reveal, role, "POST", fresh=True),
        Place("/console/quarantaine/{id}/valeur", reveal, role, fresh=True),
        Place("/console/quarantaine/rejouer", replay_all, role, "POST", apart=True),
        Place("/console/quarantaine/{id}/{action:str}", settle, role, "POST"),
    ]


_TRIED = 5
"""Findings of one place that are read again to say whether the mapping understands them: the oldest speak for all."""


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
        cell = grouped.setdefault((sender, document, code, unranked(path), severity, detail), [0, oldest])
        cell[0] += times
        cell[1] = min(cell[1], oldest)
    shown = [
        [
            Link(word("constat", code), _list_address(document, code, path), about=path),
            view.document(document),
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
    heads = says("quarantaine", "constat", "document", "expediteur", "chemin", "table", "gravite", "nombre", "depuis")
    settled = dict(map(tuple, view.connection.execute(select(c.state, func.count()).group_by(c.state))))
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


def _list_address(document: str, code: str, path: str) -> str:
    return "/console/quarantaine/liste?" + urlencode({"document": document, "code": code, "chemin": path})


def _matching(view: View, document: str, code: str, path: str) -> list[Any]:
    """The open findings of one place, the oldest first; what is sealed is left where it is."""
    c = table.c
    query = select(c.id, c.sender, c.position, c.path, c.created_at, c.exchange_id)
    query = query.where(c.state == "open", c.document == document, c.code == code).order_by(c.id)
    return [row for row in view.connection.execute(query) if unranked(row.path) == path]


def findings(view: View) -> Page:
    """Every open finding of one place, one line per record, and what to do with all of them."""
    document, code, path = view.asked("document"), view.asked("code"), view.asked("chemin")
    rows = _matching(view, document, code, path)
    states = [_state(view, row.id) for row in rows[:_TRIED]]
    known = min(len(rows), PAGE) if "understood" in states else 0
    after = view.asked("apres")
    shown_rows = [row for row in rows if row.id > after]
    page = Page(
        say("quarantaine.un_constat", constat=word("constat", code)),
        back=Link(say("quarantaine.retour"), "/console/quarantaine"),
    )
    page.blocks.append(
        Facts(
            [
                (say("quarantaine.document"), view.document(document)),
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
        page.blocks.append(Notice(say("quarantaine.renvoi" if "lost" in states else "quarantaine.inconnu"), "wait"))
    shown = [
        [
            Link(say("quarantaine.ligne", n=number(row.position)), f"/console/quarantaine/{row.id}", about=row.id[-6:]),
            view.body(row.sender),
            When(row.created_at),
            Code(row.path),
            Code(row.exchange_id[-12:]),
        ]
        for row in shown_rows[:PAGE]
    ]
    heads = says("quarantaine", "enregistrement", "expediteur", "depuis", "chemin", "echange")
    older = ""
    if len(shown_rows) > PAGE:
        older = f"{_list_address(document, code, path)}&apres={shown_rows[PAGE - 1].id}"
    page.blocks.append(
        Table("constats", say("quarantaine.liste_legende"), heads, shown, say("quarantaine.vide_liste"), older=older)
    )
    return page


def finding(view: View) -> Page:
    """One finding: where it was met, and what may be done; its value stays sealed."""
    row = quarantine.row(view.work, view.at("id"))
    return _finding_page(view, row, None)


def _finding_page(view: View, row: Any, raw: str | None) -> Page:
    back = Link(say("quarantaine.retour_liste"), _list_address(row.document, row.code, unranked(row.path)))
    page = Page(say("quarantaine.un_constat", constat=word("constat", row.code)), back=back)
    open_ = row.state == "open"
    page.blocks.append(
        Facts(
            [
                (say("quarantaine.etat"), Badge(word("constat_etat", row.state), "wait" if open_ else "good")),
                *([] if open_ else [(say("quarantaine.regle_le"), When(row.settled_at))]),
                (say("quarantaine.document"), view.document(row.document)),
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
        state = _state(view, row.id)
        if state == "understood":
            page.blocks.append(
                Form(f"{here}/rejouer", say("quarantaine.rejouer"), intro=say("quarantaine.rejouer_intro"))
            )
        else:
            page.blocks.append(Text(say("quarantaine.renvoi" if state == "lost" else "quarantaine.inconnu")))
        page.blocks.append(
            Form(f"{here}/relire", say("quarantaine.relire"), intro=say("quarantaine.relire_intro"), tone="second")
        )
        page.blocks.append(
            Form(f"{here}/ecarter", say("quarantaine.ecarter"), intro=say("quarantaine.ecarter_intro"), tone="second")
        )
    return page


def reveal(view: View) -> Page:
    """The value that was not understood, for an account that has just proved who it is; the reading is journaled."""
    row = quarantine.row(view.work, view.at("id"))
    view.journal("log.read", outcome="quarantine-value", object_ref=row.id, sender_org=row.sender)
    return _finding_page(view, row, quarantine.raw(view.work, view.gateway, row.id))


def _state(view: View, row_id: str) -> str:
    """Read again with the mapping of today, without writing: `understood`, `waiting`, or `lost` (no bytes kept)."""
    try:
        return "understood" if replay.understood(view.work, view.gateway, row_id) else "waiting"
    except Conflict:
        return "lost"


def settle(view: View) -> Answer:
    """Replay, read at the next sending, or set aside one finding."""
    row, action = quarantine.row(view.work, view.at("id")), view.at("action")
    back = _list_address(row.document, row.code, unranked(row.path))
    if action == "rejouer":
        replay.replay_in(view.work, view.gateway, row.id)
        return Go(back, "rejoue")
    if action == "relire":
        quarantine.read_next_time(view.work, view.gateway, row.id)
        return Go(back, "relu")
    if action == "ecarter":
        quarantine.dismiss(view.work, row.id)
        return Go(back, "ecarte")
    raise Unknown("action-unknown", "This page has no such action.")


def replay_all(view: View) -> Answer:
    """Replay every finding of one place that is understood today, each in its own transaction: one that still waits
    stops none of the others, and the findings of one record close together."""
    done = 0
    for row in _matching(view, view.given("document"), view.given("code"), view.given("chemin"))[:PAGE]:
        try:
            with view.gateway.unit_of_work() as work:
                work.by = view.by
                replay.replay_in(work, view.gateway, row.id)
        except Conflict:
            continue
        done += 1
    return Go("/console/quarantaine", "rejoue" if done else "rien_rejoue", done)
