"""The accessibility statement: drawn from the audit grid, its rate computed and never typed."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from gateway.console.blocks import Badge, Facts, Lines, Num, Page, Table, Text, Title
from gateway.words import say, says, word

GRID = Path(__file__).resolve().parents[2] / "docs" / "accessibility" / "grid.csv"


def rate(rows: list[dict[str, str]]) -> int | None:
    """Share of conforming criteria among those assessed and applicable, in percent; None when none was assessed."""
    counted = Counter(row["result"] for row in rows)
    assessed = counted["C"] + counted["NC"]
    return round(100 * counted["C"] / assessed) if assessed else None


def grid() -> list[dict[str, str]]:
    """The audit grid, or nothing where it was not installed."""
    if not GRID.is_file():
        return []
    with GRID.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def page() -> Page:
    """What was examined, what conforms, what does not, and whom to tell."""
    rows = grid()
    counted = Counter(row["result"] for row in rows)
    share = rate(rows)
    found = Page(say("accessibilite.titre"), [Text(say("accessibilite.intro"), lead=True)])
    state = "non" if share is None else "totale" if share == 100 and not counted["NT"] else "partielle"
    tones = {"C": "good", "NC": "bad", "NA": "quiet", "NT": "wait"}
    found.blocks += [
        Facts(
            [
                (say("accessibilite.etat"), say(f"accessibilite.{state}")),
                (
                    say("accessibilite.taux"),
                    say("accessibilite.taux_valeur", n=share) if share is not None else say("accessibilite.non_evalue"),
                ),
                *((word("critere", code), Num(counted[code])) for code in ("C", "NC", "NA", "NT")),
            ]
        ),
        Title(say("accessibilite.manques")),
        Table(
            "manques",
            say("accessibilite.manques_legende"),
            says("accessibilite", "critere", "resultat", "preuve"),
            [
                [row["criterion"], Badge(word("critere", row["result"]), tones[row["result"]]), row["evidence"]]
                for row in rows
                if row["result"] in ("NC", "NT")
            ],
            say("accessibilite.sans_manque"),
        ),
        Title(say("accessibilite.contact_titre")),
        Text(say("accessibilite.contact")),
        Title(say("accessibilite.recours_titre")),
        Text(say("accessibilite.recours")),
        Facts(
            [
                (say("accessibilite.techniques"), Lines(["HTML", "CSS", "SVG"])),
                (say("accessibilite.outils"), Lines(["axe-core", "Chromium", say("accessibilite.clavier")])),
            ]
        ),
    ]
    return found
