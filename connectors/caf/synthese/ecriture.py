"""Writing the caisses' XML: a tree of (element, text or children), then bytes.

The order of elements is the order of the partner's schemas, where every block is a strict sequence. None leaves an
element out; empty text writes an empty element, which the caisses do for address lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from xml.sax.saxutils import escape

Noeud = tuple[str, "str | list[Noeud] | None"]


def texte(noeud: Noeud, sortie: list[str], marge: str, pas: str) -> None:
    """Append the lines of this element to `sortie`; `pas` is the indentation of one level ("" writes compact XML)."""
    nom, contenu = noeud
    if contenu is None:
        return
    if isinstance(contenu, str):
        if "&" in contenu or "<" in contenu:
            contenu = escape(contenu)
        sortie.append(f"{marge}<{nom}>{contenu}</{nom}>\n" if contenu else f"{marge}<{nom}/>\n")
        return
    sortie.append(f"{marge}<{nom}>\n")
    dedans = marge + pas
    for enfant in contenu:
        texte(enfant, sortie, dedans, pas)
    sortie.append(f"{marge}</{nom}>\n")


def lignes(noeuds: Iterable[Noeud], pas: str = "\t") -> str:
    """These elements one under the other, one level inside the root."""
    sortie: list[str] = []
    for noeud in noeuds:
        texte(noeud, sortie, pas, pas)
    return "".join(sortie)


def jour(moment: date | None) -> str | None:
    return moment.isoformat() if moment else None


def top(vrai: bool | None) -> str | None:
    """Tri-state: nothing when the caisse did not compute it."""
    return None if vrai is None else "1" if vrai else "0"


def montant(valeur: float, largeur: int = 10) -> str:
    return f"{valeur:0{largeur}.2f}"
