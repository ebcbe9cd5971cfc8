"""What exchanges rest on: conventions and their versions, retention, the decision table, the mappings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

import mappings
from gateway import clock, convention, journal
from gateway.clock import day_of
from gateway.console import law_words, purges
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Fold,
    Lines,
    Link,
    Num,
    Page,
    Prose,
    Quiet,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import PAGE, Place, View
from gateway.convention_checks import parse
from gateway.convention_model import Convention
from gateway.policy_question import in_order
from gateway.policy_table import Rule
from gateway.policy_table import Table as Law
from gateway.problems import Unknown
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.basis import convention as convention_table
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.words import day, many, number, period, say, says, word
from mappings.explain import explain

TONES = {"active": "good", "a_venir": "wait", "suspendue": "bad", "expiree": "bad", "brouillon": "quiet"}
SOON = timedelta(days=180)


def places() -> list[Place]:
    """The pages of what exchanges rest on."""
    return [
        Place("/console/conventions", conventions, ("dpo",)),
        Place("/console/conventions/{id}", one_convention, ("dpo",)),
        Place("/console/conservation", retention, ("dpo",)),
        Place("/console/decision", decision, ("dpo",)),
        Place("/console/correspondances", mapping_list, ("dpo", "integration")),
        Place("/console/correspondances/{id}", one_mapping, ("dpo", "integration")),
    ]


# --- conventions ------------------------------------------------------------


def conventions(view: View) -> Page:
    """Every convention in its last version: who, until when, how many flows are open."""
    today = convention.today(view.work)
    rows = [
        [
            Link(one["titre"], f"/console/conventions/{one['id']}"),
            Badge(word("convention", one["etat"]), TONES.get(one["etat"], "quiet")),
            Lines([view.body(party) for party in one["parties"]]),
            day(one["debut"]),
            _end(one["fin"], today),
            f"{number(one['flux_actifs'])} / {number(one['flux'])}",
            Num(one["version"]),
        ]
        for one in convention.list_(view.work)
    ]
    heads = says("conventions", "titre_col", "etat", "parties", "debut", "fin", "flux", "version")
    return Page(
        say("conventions.titre"),
        [
            Text(say("conventions.intro"), lead=True),
            Table("conventions", say("conventions.legende"), heads, rows, say("conventions.vide"), frozenset({5, 6})),
        ],
    )


def _end(iso: str, today: date) -> Any:
    left = (date.fromisoformat(iso) - today).days
    if left < 0:
        return Lines([day(iso), Badge(say("conventions.terminee"), "bad")])
    return Lines([day(iso), Badge(many("conventions.reste", left), "wait")]) if left <= SOON.days else day(iso)


def one_convention(view: View) -> Page:
    """One convention: its flows today, what each version changed, the file as it was signed."""
    id = view.at("id")
    versions = view.connection.execute(
        select(convention_table).where(convention_table.c.id == id).order_by(convention_table.c.version.desc())
    ).all()
    if not versions:
        raise Unknown("convention-unknown", "List the conventions.")
    last, today = parse(bytes(versions[0].content)), convention.today(view.work)
    state = last.etat_le(today)
    page = Page(last.titre, back=Link(say("conventions.retour"), "/console/conventions"))
    page.blocks.append(
        Facts(
            [
                (say("conventions.etat"), Badge(word("convention", state), TONES[state])),
                (
                    say("conventions.dates"),
                    say("conventions.du_au", debut=day(last.debut.isoformat()), fin=day(last.fin.isoformat())),
                ),
                (say("conventions.nature"), word("nature", last.nature)),
                (say("conventions.perimetre"), ", ".join(last.perimetre)),
                (
                    say("conventions.parties"),
                    Lines(
                        [
                            f"{one.nom} ({law_words.role(view.gateway.policy.table, one.role)})"
                            for one in [*last.partie, *(annexe.partie for annexe in last.annexe)]
                        ]
                    ),
                ),
            ]
        )
    )
    page.blocks += [Title(say("conventions.flux_titre")), _flows(view, last, today), Title(say("conventions.versions"))]
    page.blocks += list(_versions(versions))
    page.blocks.append(
        Fold(say("conventions.fichier", version=versions[0].version), bytes(versions[0].content).decode())
    )
    return page


def _flows(view: View, one: Convention, today: date) -> Table:
    law = view.gateway.policy.table
    rows = [
        [
            say("personne.de_vers", de=view.body(flow.de), vers=view.body(flow.vers)),
            view.document(flow.document),
            law_words.purpose(law, flow.purpose),
            law_words.regime(law, flow.regime),
            Lines(flow.base_legale),
            law_words.categories(flow.codes) if flow.codes is not None else Quiet(say("conventions.toutes_categories")),
            Badge(word("convention", flow.etat), TONES.get(flow.etat, "quiet")),
        ]
        for flow in one.flows(today)
    ]
    heads = says("conventions", "qui", "document", "finalite", "regime", "base", "categories", "etat")
    return Table("flux", say("conventions.flux_legende"), heads, rows)


def _versions(versions: Any) -> Iterator[Any]:
    rows = []
    for rank, row in enumerate(versions):
        before = versions[rank + 1] if rank + 1 < len(versions) else None
        changed = convention.diff(bytes(before.content), bytes(row.content)) if before is not None else []
        told: Any = Lines([Code(line) for line in changed[:40]]) if changed else Quiet(say("conventions.premiere"))
        rows.append(
            [say("conventions.version_n", n=row.version), When(row.added_at), Code(row.sha256[:16] + "…"), told]
        )
    heads = says("conventions", "version", "ajoutee", "empreinte", "changements")
    yield Table("versions", say("conventions.versions_legende"), heads, rows)


# --- retention ------------------------------------------------------------


def retention(view: View) -> Page:
    """What ends, and when; how long each regime and each class of the journal is kept."""
    law = view.gateway.policy.table
    regimes = [
        [
            regime.id,
            law_words.regime(law, regime.id),
            period(regime.retention),
            period(regime.archive) if regime.archive else "–",
            period(regime.traces),
            Lines(regime.articles),
            word("verifie", law.source["regimes"][regime.id].get("checked", "")),
        ]
        for regime in law.regimes.values()
    ]
    heads = says("conservation", "regime", "nom", "donnees", "archives", "traces", "articles", "verifie")
    asked = view.asked("echeances")
    start = int(asked) if asked.isdecimal() else 0
    due = sorted(_due(view))[start:]
    rows = [[day(when), what, about] for when, what, about in due[:PAGE]]
    older = view.further("echeances", echeances=str(start + PAGE)) if len(due) > PAGE else ""
    return Page(
        say("conservation.titre"),
        [
            Text(say("conservation.intro"), lead=True),
            Title(say("conservation.echeances")),
            Table(
                "echeances",
                say("conservation.echeances_legende"),
                [say("conservation.date"), say("conservation.quoi"), say("conservation.detail")],
                rows,
                say("conservation.vide"),
                older=older,
            ),
            *purges.blocks(view),
            Title(say("conservation.regimes")),
            Table("regimes", say("conservation.regimes_legende"), heads, regimes),
        ],
    )


def _due(view: View) -> Iterator[tuple[str, str, str]]:
    today = convention.today(view.work)
    for one in convention.list_(view.work):
        if today <= date.fromisoformat(one["fin"]):
            yield one["fin"], say("conservation.fin_convention"), one["titre"]
    for row in view.connection.execute(select(convention_table.c.content).distinct()):
        for review in parse(bytes(row.content)).dates_revue:
            if review >= today:
                yield review.isoformat(), say("conservation.revue"), parse(bytes(row.content)).titre
    hour = func.substr(basis_record.c.valid_until, 1, 13)  # few enough, and of one day each
    ending: Counter[str] = Counter()
    for until, times in view.connection.execute(
        select(hour, func.count())
        .where(basis_record.c.valid_until > clock.instant(), basis_record.c.kind == "consent")
        .group_by(hour)
    ):
        ending[day_of(f"{until}:00Z" if "T" in until else until)] += times
    for day_, times in ending.items():
        yield day_, say("conservation.fin_consentement"), many("conservation.personnes", times)
    for log in view.connection.execute(select(journal_log).order_by(journal_log.c.log)).all():
        oldest = select(journal_entry.c.ts).where(journal_entry.c.log == log.log).order_by(journal_entry.c.idx).limit(1)
        first = view.connection.scalar(oldest)
        if first:
            months = journal.RETENTION_MONTHS[log.log]
            began = datetime.fromisoformat(first)
            ends = date(began.year + (began.month - 1 + months) // 12, (began.month - 1 + months) % 12 + 1, 1)
            yield ends.isoformat(), say("conservation.fin_journal"), say("conservation.classe", mois=months)


# --- the decision table ------------------------------------------------------------


def decision(view: View) -> Page:
    """The decision table as a person reads it: each rule with its text, when it applies, its article."""
    law = view.gateway.policy.table
    counts = Counter(rule.effect for rule in law.rules)
    return Page(
        say("decision.titre"),
        [
            Text(say("decision.intro"), lead=True),
            Facts(
                [
                    (say("decision.version"), Code(law.version)),
                    (
                        say("decision.signature"),
                        Badge(say("decision.signee"), "good")
                        if law.signed
                        else Badge(say("decision.non_signee"), "wait"),
                    ),
                    (
                        say("decision.compte"),
                        say(
                            "decision.compte_detail",
                            deny=counts["deny"],
                            redact=counts["redact"],
                            permit=counts["permit"],
                        ),
                    ),
                ]
            ),
            Title(say("decision.regles")),
            _rules(law),
            Title(say("decision.categories_titre")),
            _categories(law),
        ],
    )


_EFFECTS = {"deny": "bad", "redact": "wait", "permit": "good"}


def _rules(law: Law) -> Table:
    heads = says("decision", "regle", "effet", "texte", "quand", "categories", "articles")
    return Table("regles", say("decision.legende"), heads, [_rule(law, rule) for rule in law.rules])


def _rule(law: Law, rule: Rule) -> list[Any]:
    when = [one for one in law_words.conditions(law, rule.when) if one] or [say("decision.par_defaut")]
    more = [say("decision.autres", n=len(when) - 6)] if len(when) > 6 else []
    unless = [say("decision.sauf", quand=one) for one in law_words.conditions(law, rule.unless)]
    mark = (
        [Badge(say("decision.en_vigueur" if rule.in_force else "decision.proposee"), "wait")] if rule.proposed else []
    )
    taken = rule.categories or rule.asks
    return [
        Lines([Code(rule.id), *mark]),
        Badge(word("effet", rule.effect), _EFFECTS[rule.effect]),
        rule.text_fr or "–",
        Lines([*when[:6], *more, *unless[:3]]),
        law_words.categories(taken) if taken else say("decision.toutes"),
        Lines(rule.articles),
    ]


def _categories(law: Law) -> Table:
    rows = [
        [
            Code(code),
            word("categorie", code),
            word("sensibilite", law.categories[code]["sensitivity"]),
            say("decision.oui") if law.categories[code].get("secret") else say("decision.non"),
        ]
        for code in in_order(law.categories)
    ]
    heads = says("decision", "code", "nom", "sensibilite", "secret")
    return Table("categories", say("decision.categories_legende"), heads, rows)


# --- mappings, in French ------------------------------------------------------------


def mapping_list(view: View) -> Page:
    """Every mapping: which document, which way, which categories."""
    rows = [
        [
            Link(one.title, f"/console/correspondances/{one.id}?version={one.version}"),
            Code(one.id),
            Num(one.version),
            word("sens", one.file.direction),
            ", ".join(word("modele", name) for name in sorted(one.categories)) or "–",
            Num(sum(1 for _ in one.rows())),
            Num(len(one.file.example)),
        ]
        for one in sorted(mappings.all_mappings(), key=lambda one: (one.id, one.version))
    ]
    heads = says("correspondances", "titre_col", "id", "version", "sens", "categories", "lignes", "cas")
    return Page(
        say("correspondances.titre"),
        [
            Text(say("correspondances.intro"), lead=True),
            Table("correspondances", say("correspondances.legende"), heads, rows, numbers=frozenset({2, 5, 6})),
        ],
    )


def one_mapping(view: View) -> Page:
    """One mapping as a page: what is read or written, what is not, and why."""
    id, version = view.at("id"), view.asked("version")
    found = next((one for one in mappings.all_mappings() if one.id == id and version in ("", str(one.version))), None)
    if found is None:
        raise Unknown("mapping-unknown", "List the mappings.")
    from gateway.console.prose import prose  # brings a reader of Markdown, for few pages

    text = explain(found, lambda category: word("modele", category)).partition("\n")[2]
    return Page(found.title, [Prose(prose(text))], back=Link(say("correspondances.retour"), "/console/correspondances"))
