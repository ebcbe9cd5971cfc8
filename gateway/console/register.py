"""The register of exchanges: volumes and refusals by purpose, partner and article; each exchange and its proof."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from gateway import bundle, journal, volumes
from gateway.console import law_words
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Field,
    Figures,
    Form,
    Lines,
    Link,
    Notice,
    Num,
    Page,
    Picture,
    Quiet,
    Table,
    Tabs,
    Text,
    Title,
    When,
)
from gateway.console.common import PAGE, Answer, Download, Place, View
from gateway.problems import Unknown
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import exchange
from gateway.words import many, moment, number, say, says, word

PERIODS = ("7", "30", "90", "365")
TONES = {"delivered": "good", "withheld": "bad", "dead": "bad", "queued": "wait", "claimed": "wait", "waiting": "wait"}
_PROVABLE = 2_000
"""Entries beyond which a proof in one file would be too large: the whole journal is exported instead."""


def places() -> list[Place]:
    """The pages of the register."""
    return [
        Place("/console/registre", register, ("dpo",)),
        Place("/console/echanges", latest, ("dpo",)),
        Place("/console/echanges/{id}", one, ("dpo",)),
        Place("/console/echanges/{id}/preuve", proof, ("dpo",)),
        Place("/console/verification", checker, ("dpo",)),
    ]


def state(code: str, count: int = 0) -> Badge:
    """The state of deliveries, with how many."""
    return Badge(many(f"etat_compte.{code}", count) if count else word("etat", code), TONES.get(code, "quiet"))


def _tabs(here: str) -> Tabs:
    items = (("/console/registre", "registre.par_finalite"), ("/console/echanges", "registre.derniers"))
    return Tabs(say("registre.titre"), [(say(key), href, href == here) for href, key in items])


def days_of(view: View) -> int:
    asked = view.asked("jours", "30")
    return int(asked) if asked in PERIODS else 30


@dataclass(slots=True)
class Volume:
    """What the journal counts for one purpose from one body to another."""

    permitted: int = 0
    delivered: int = 0
    articles: set[str] = field(default_factory=set)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(reason, article) → times."""

    @property
    def refused(self) -> int:
        return self.refusals.total()

    def add(self, row: volumes.Row, times: int) -> None:
        """Count entries of one kind; those that are no sending change nothing."""
        if row.event == "exchange.deny":
            self.refusals[row.reason, row.article] += times
        elif row.event == "exchange.request":
            self.permitted += times
            self.articles.add(row.article)
        elif row.gave:
            self.delivered += times
            self.articles.add(row.article)


Flow = tuple[str, str, str]
"""(purpose, sender, recipient)."""


def register(view: View) -> Page:
    """Volumes by purpose, pair of bodies and article."""
    days, wanted, body = days_of(view), view.asked("finalite"), view.asked("organisme")
    flows = _flows(view, days, wanted, body)
    bodies = {one for _, *pair in flows for one in pair}
    delivered, permitted, refused = (
        sum(getattr(one, name) for one in flows.values()) for name in ("delivered", "permitted", "refused")
    )
    return Page(
        say("registre.titre"),
        [
            Text(say("registre.intro"), lead=True),
            _tabs("/console/registre"),
            _filter(view, days, wanted, body),
            Figures(
                [
                    (say("registre.livres"), Num(delivered), "good"),
                    (say("registre.permis"), Num(permitted), ""),
                    (say("registre.refuses"), Num(refused), "bad" if refused else ""),
                    (say("registre.organismes"), Num(len(bodies)), ""),
                ]
            ),
            *([_chart(view, flows)] if flows else []),
            _table(view, flows),
        ],
    )


def _flows(view: View, days: int, wanted: str, body: str) -> dict[Flow, Volume]:
    flows: dict[Flow, Volume] = defaultdict(Volume)
    for row, times in volumes.counts(view.gateway.engine, view.connection, days).items():
        asked = wanted in ("", row.purpose) and (not body or body in (row.sender, row.recipient))
        if row.recipient and asked:
            flows[row.purpose, row.sender, row.recipient].add(row, times)
    return {flow: one for flow, one in flows.items() if one.permitted or one.delivered or one.refused}


def period(days: int, choices: Sequence[str] = PERIODS) -> Field:
    """The field that chooses over how many days a page looks."""
    options = [(value, many("duree.jours", int(value))) for value in choices]
    return Field("jours", say("registre.periode"), "select", value=str(days), options=options)


def _filter(view: View, days: int, wanted: str, body: str) -> Form:
    table = view.gateway.policy.table
    purposes = [("", say("liste.toutes")), *((name, law_words.purpose(table, name)) for name in table.purposes)]
    bodies = [("", say("liste.tous")), *((id, one.name) for id, one in sorted(view.gateway.bodies.items()))]
    return Form(
        "/console/registre",
        say("formulaire.filtrer"),
        method="get",
        fields=[
            period(days),
            Field("finalite", say("registre.finalite"), "select", value=wanted, options=purposes),
            Field("organisme", say("registre.organisme"), "select", value=body, options=bodies),
        ],
    )


def _chart(view: View, flows: dict[Flow, Volume]) -> Picture:
    pairs: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for (_, sender, recipient), one in flows.items():
        pairs[sender, recipient][0] += one.delivered
        pairs[sender, recipient][1] += one.refused
    shown = sorted(pairs.items(), key=lambda item: -sum(item[1]))[:10]
    labels = [f"{_short(view.body(sender))} → {_short(view.body(recipient))}" for (sender, recipient), _ in shown]
    told = " ; ".join(
        say("registre.graphique_ligne", paire=label, livres=number(values[0]), refuses=number(values[1]))
        for label, (_, values) in zip(labels, shown, strict=True)
    )
    from gateway.console import charts  # brings pygal, for one page

    source = charts.stacked(
        labels,
        [
            (say("registre.livres"), [values[0] for _, values in shown]),
            (say("registre.refuses"), [values[1] for _, values in shown]),
        ],
    )
    return Picture(source, say("registre.graphique", detail=told), say("registre.graphique_legende"))


def _short(name: str) -> str:
    name = name.partition(" (")[0]
    return name if len(name) <= 34 else name[:33] + "…"


def _table(view: View, flows: dict[Flow, Volume]) -> Table:
    law = view.gateway.policy.table

    def place(item: tuple[Flow, Volume]) -> tuple[str, int]:
        (purpose, *_), one = item
        return purpose, -(one.permitted + one.refused + one.delivered)

    shown = [
        [
            law_words.purpose(law, purpose),
            say("personne.de_vers", de=view.body(sender), vers=view.body(recipient)),
            Lines([law_words.texts(article) for article in sorted(one.articles - {""})]),
            Num(one.permitted),
            Num(one.delivered),
            Num(one.refused),
            Lines(
                [
                    f"{number(times)} : {law_words.reason(law, reason)} ({law_words.texts(article)})"
                    for (reason, article), times in one.refusals.most_common(4)
                ]
            ),
        ]
        for (purpose, sender, recipient), one in sorted(flows.items(), key=place)
    ]
    heads = says("registre", "finalite", "flux", "articles", "permis", "livres", "refuses", "motifs")
    note, empty = say("registre.note"), say("registre.vide")
    return Table("volumes", say("registre.legende"), heads, shown, empty, frozenset({3, 4, 5}), note)


def latest(view: View) -> Page:
    """Every exchange, newest first, with what became of its deliveries."""
    after = view.asked("apres")
    query = select(exchange).order_by(exchange.c.id.desc()).limit(PAGE)
    rows = view.connection.execute(query.where(exchange.c.id < after) if after else query).all()
    states: dict[str, list[Badge]] = defaultdict(list)
    counted = (
        select(outbox.c.exchange_id, outbox.c.state, func.count())
        .where(outbox.c.exchange_id.in_([row.id for row in rows]))
        .group_by(outbox.c.exchange_id, outbox.c.state)
        .order_by(outbox.c.state)
    )
    for exchange_id, code, times in view.connection.execute(counted):
        states[exchange_id].append(state(code, times))
    law = view.gateway.policy.table
    shown = [
        [
            When(row.received_at),
            view.body(row.sender),
            view.document(row.document),
            ", ".join(law_words.purpose(law, one) for one in row.purpose.split(",") if one) or "–",
            Num(row.records),
            Lines(states[row.id] or [Quiet(say("echanges.aucune_livraison"))]),
            Link(
                say("echanges.ouvrir"),
                f"/console/echanges/{row.id}",
                about=f"{view.gateway.title(row.document)} {moment(row.received_at)}, {row.id[-6:]}",
            ),
        ]
        for row in rows
    ]
    heads = says(
        "echanges", "recu_le", "expediteur", "document", "finalites", "enregistrements", "livraisons", "detail"
    )
    older = f"/console/echanges?apres={rows[-1].id}" if len(rows) == PAGE else ""
    return Page(
        say("echanges.titre"),
        [
            Text(say("echanges.intro"), lead=True),
            _tabs("/console/echanges"),
            Table("echanges", say("echanges.legende"), heads, shown, say("echanges.vide"), frozenset({4}), older=older),
        ],
    )


def one(view: View) -> Page:
    """One exchange: what was asked, what was decided for each recipient, what the journal holds of it."""
    id = view.at("id")
    row = view.connection.execute(select(exchange).where(exchange.c.id == id)).first()
    entries = journal.of_exchange(view.connection, id)
    first = next((logged for logged in entries if b'"event":"exchange.' in logged.content), None)
    if row:
        page = _arrived(view, row)
    elif first:
        page = _left(view, id, first.fields)
    else:
        raise Unknown("exchange-unknown", "Check the id against the list of exchanges.")
    view.journal("log.read", outcome="exchange", exchange_id=id)
    page.blocks += [*_refusals(view, entries), Title(say("echange.journal")), *_entries(view, id, entries)]
    return page


def _arrived(view: View, row: Any) -> Page:
    """The head of the exchange that a document of its sender's began, and what left of it."""
    page = Page(say("echange.titre", qui=view.body(row.sender)), back=Link(say("echange.retour"), "/console/echanges"))
    facts = [
        (say("echanges.recu_le"), When(row.received_at)),
        (say("echanges.expediteur"), view.body(row.sender)),
        *_about(view, row.document, row.purpose.split(",")),
        (say("echanges.enregistrements"), Num(row.records)),
        (say("echange.numero"), Code(row.id)),
    ]
    page.blocks += [Facts(facts), Title(say("echange.livraisons")), _deliveries(view, row.id)]
    return page


def _left(view: View, id: str, told: dict[str, Any]) -> Page:
    """The head of one that nothing received began: a question put to a partner, a notice, an act transmitted."""
    to = view.body(told.get("recipient_org", ""))
    facts = [
        (say("echange.parti_le"), When(told["ts"])),
        (say("echanges.expediteur"), view.body(told.get("sender_org", "")) or "–"),
        (say("echange.destinataire"), to),
        *_about(view, told.get("document", ""), [told.get("purpose", "")]),
        (say("echange.numero"), Code(id)),
    ]
    return Page(
        say("echange.titre_vers", qui=to), [Facts(facts)], back=Link(say("echange.retour"), "/console/echanges")
    )


def _about(view: View, document: str, purposes: Sequence[str]) -> list[tuple[str, Any]]:
    law = view.gateway.policy.table
    named = ", ".join(law_words.purpose(law, purpose) for purpose in purposes if purpose)
    return [
        (say("echanges.document"), view.document(document) if document else "–"),
        (say("echanges.finalites"), named or "–"),
    ]


def _deliveries(view: View, exchange_id: str) -> Table:
    c = outbox.c
    keys = (c.recipient, c.document, c.state, c.reason, c.article, c.categories)
    rows = view.connection.execute(
        select(*keys, func.count()).where(c.exchange_id == exchange_id).group_by(*keys).order_by(*keys).limit(200)
    ).all()
    law = view.gateway.policy.table
    shown = [
        [
            view.body(recipient),
            view.document(document),
            state(code, times),
            law_words.reason(law, reason) if code != "delivered" else "–",
            law_words.texts(article),
            law_words.categories((sent or "").split(",") if sent else []),
        ]
        for recipient, document, code, reason, article, sent, times in rows
    ]
    heads = says("echange", "destinataire", "document", "etat", "motif", "article", "categories")
    return Table("livraisons", say("echange.livraisons_legende"), heads, shown, say("echange.aucune_livraison"))


def _refusals(view: View, entries: Sequence[journal.Logged]) -> list[Any]:
    """What the law stopped, when it arrived or when it was about to leave: to whom, why and under which text."""
    refused: Counter[tuple[str, str, str, tuple[str, ...]]] = Counter()
    for logged in entries:
        if b'"event":"exchange.deny"' in logged.content:  # a whole file has too many others to be read for nothing
            told = logged.fields
            kept = tuple(told.get("categories_redacted", ()))
            refused[told.get("recipient_org", ""), told.get("reason_code", ""), told.get("article", ""), kept] += 1
    if not refused:
        return []
    law = view.gateway.policy.table
    rows = [
        [
            view.body(body),
            law_words.reason(law, reason),
            law_words.texts(article),
            law_words.categories(kept),
            Num(times),
        ]
        for (body, reason, article, kept), times in refused.most_common()
    ]
    heads = says("echange", "destinataire", "motif", "article", "retenues", "refuses")
    table = Table("refus", say("echange.refus_legende"), heads, rows, "", frozenset({4}))
    return [Title(say("echange.refus")), table]


def _entries(view: View, exchange_id: str, entries: Sequence[journal.Logged]) -> list[Any]:
    total = len(entries)
    rows = []
    for logged in entries[:100]:
        told = logged.fields
        rows.append(
            [
                Code(f"{logged.log} n° {logged.idx}"),
                When(told["ts"]),
                word("evenement", told["event"]),
                view.body(told.get("recipient_org", "")) or "–",
                _decision(told),
                Lines([f"{rule}" for rule in told.get("rule_ids", ())]),
                law_words.categories(told.get("categories_sent", ())),
                law_words.categories(told.get("categories_redacted", ())),
            ]
        )
    heads = says("journal", "place", "date", "evenement", "destinataire", "decision", "regles", "envoye", "retenu")
    note = say("echange.journal_note", n=number(total)) if total > len(rows) else ""
    blocks: list[Any] = [
        Table("entrees", say("echange.journal_legende"), heads, rows, say("echange.journal_vide"), note=note)
    ]
    if total and total <= _PROVABLE:
        blocks.append(
            Facts(
                [
                    (
                        say("echange.preuve_titre"),
                        Link(say("echange.preuve"), f"/console/echanges/{exchange_id}/preuve"),
                    ),
                    (say("echange.preuve_contenu"), say("echange.preuve_detail")),
                    (say("echange.verifier_titre"), Link(say("echange.verifier"), "/console/verification")),
                ]
            )
        )
    elif total:
        blocks.append(Notice(say("echange.preuve_grande"), "wait"))
    return blocks


def _decision(told: dict[str, Any]) -> Any:
    code = told.get("decision")
    return Badge(word("decision_mot", code), "good" if code == "permit" else "bad") if code else "–"


def proof(view: View) -> Answer:
    """The proof of an exchange in one file, to check elsewhere."""
    id = view.at("id")
    if not journal.of_exchange(view.connection, id, limit=1):
        raise Unknown("exchange-unknown", "Check the id against the list of exchanges.")
    view.journal("export", outcome="proof", exchange_id=id)
    view.gateway.publish_journal()  # that this exchange was opened a moment ago is of it too
    return Download(
        bundle.proof_bundle(view.connection, view.gateway.settings, id), "application/zip", f"preuve-{id}.zip"
    )


def checker(view: View) -> Answer:
    """The page that checks such a file in a browser, offline."""
    return Download(bundle.PAGE.read_bytes(), "text/html", bundle.PAGE.name)
