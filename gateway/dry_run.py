"""What a file changes, in words that a person reads before applying it: « 12 foyers changent d'état »."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.receipt import Change, Receipt
from gateway.stays import CLOSED


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of change: the subjects it counts, and the paths that make it."""

    key: str
    subject: str
    new: bool
    paths: tuple[str, ...]
    """Prefixes of canonical paths; none: the subject itself, or whatever no other kind counts."""
    one: str
    many: str


KINDS = (
    Kind("nouveaux_foyers", "foyer", True, (), "nouveau foyer", "nouveaux foyers"),
    Kind("nouvelles_personnes", "personne", True, (), "nouvelle personne", "nouvelles personnes"),
    Kind("clotures", "foyer", False, ("droit_rsa.etat",), "droit fermé", "droits fermés"),
    Kind("etats", "foyer", False, ("droit_rsa.etat",), "foyer change d'état", "foyers changent d'état"),
    Kind("suspensions", "foyer", False, ("droit_rsa.suspensions[",), "foyer change de suspensions",
         "foyers changent de suspensions"),
    Kind("mutations", "foyer", False, ("droit_rsa.mutation",), "dossier change de caisse",
         "dossiers changent de caisse"),
    Kind("compositions", "foyer", False, ("foyer.membres[", "foyer.situation_familiale", "foyer.nb_"),
         "foyer change de composition ou de situation familiale",
         "foyers changent de composition ou de situation familiale"),
    Kind("autres_foyers", "foyer", False, (), "foyer change autrement", "foyers changent autrement"),
    Kind("adresses", "personne", False, ("personne.adresses[",), "nouvelle adresse", "nouvelles adresses"),
    Kind("contacts", "personne", False, ("personne.telephones[", "personne.courriels["), "nouveau moyen de contact",
         "nouveaux moyens de contact"),
    Kind("droits_devoirs", "personne", False, ("droit_rsa.soumis", "droit_rsa.entree", "droit_rsa.date_droits"),
         "changement de droits et devoirs", "changements de droits et devoirs"),
    Kind("identites", "personne", False, ("personne.nom", "personne.prenom", "personne.date_naissance",
         "personne.identite", "personne.sexe", "identifiants["), "identité complétée ou corrigée",
         "identités complétées ou corrigées"),
    Kind("orientations", "personne", False, ("orientations[",), "orientation nouvelle ou modifiée",
         "orientations nouvelles ou modifiées"),
    Kind("contrats", "personne", False, ("contrats[",), "contrat nouveau ou modifié", "contrats nouveaux ou modifiés"),
    Kind("freins", "personne", False, ("freins[",), "personne dont les freins changent",
         "personnes dont les freins changent"),
    Kind("autres_personnes", "personne", False, (), "personne change autrement", "personnes changent autrement"),
)  # fmt: skip
_KIND = {kind.key: kind for kind in KINDS}


def add(counted: dict[str, int], receipt: Receipt) -> None:
    """Count what one record changed."""
    for change in receipt.changes:
        for key in _kinds(change):
            counted[key] = counted.get(key, 0) + 1


def _kinds(change: Change) -> Iterator[str]:
    if change.new:
        yield from (kind.key for kind in KINDS if kind.subject == change.kind and kind.new)
        return
    left = set(change.paths)
    for kind in KINDS:
        if kind.new or kind.subject != change.kind or not left:
            continue
        met = {path for path in left if path.startswith(kind.paths)} if kind.paths else left
        if kind.key == "clotures" and change.facts.get("droit_rsa.etat") not in CLOSED:
            continue
        if met:
            left -= met
            yield kind.key


def sentences(counted: Mapping[str, int]) -> Iterable[str]:
    """One French phrase per kind of change, in the order of `KINDS`."""
    for key, kind in _KIND.items():
        if times := counted.get(key, 0):
            number = f"{times:,}".replace(",", " ")  # a narrow space groups thousands, as French does
            yield f"{number} {kind.one if times == 1 else kind.many}"
