"""The identifiers somebody gives to find a person, as facts the match ladder understands. They never come in a URL."""

from __future__ import annotations

from typing import Any

from gateway.problems import Invalid
from schemas import normalisation

MEMBERS = {
    "nir": "identifiants[nir].valeur",
    "numero_france_travail": "identifiants[ft_numero].valeur",
    "date_naissance": "personne.date_naissance",
    "nom_naissance": "personne.nom_naissance",
    "code_postal": "personne.adresses[residence].code_postal",
}
"""Member of the search to canonical path; `prenom` is one more."""


def facts_of(body: Any) -> dict[str, Any]:
    """Facts of a search, as the record writes them: what is written otherwise would find nobody.

    Raises `Invalid` (`search-form`, `bad-nir`, `bad-date`, `bad-number`), which repeats no value.
    """
    if not isinstance(body, dict) or not all(isinstance(value, str) for value in body.values()):
        raise Invalid("search-form", "Send an object of texts: nir, numero_france_travail, date_naissance, …")
    if unknown := sorted(body.keys() - MEMBERS.keys() - {"prenom"}):
        raise Invalid("search-form", f"Unknown members: {len(unknown)}. Allowed: {', '.join(sorted(MEMBERS))}, prenom.")
    facts: dict[str, Any] = {path: body[name] for name, path in MEMBERS.items() if body.get(name)}
    if prenom := body.get("prenom"):
        facts["personne.prenoms"] = [prenom]
    if born := facts.get("personne.date_naissance"):
        if not (day := normalisation.partial_date(born)):
            raise Invalid("bad-date", "Give a date of birth as AAAA-MM-JJ.", path="date_naissance")
        facts["personne.date_naissance"] = day
    if number := facts.get("identifiants[ft_numero].valeur"):
        if not (digits := normalisation.ft_numero(number)):
            raise Invalid("bad-number", "Check the number: 11 digits.", path="numero_france_travail")
        facts["identifiants[ft_numero].valeur"] = digits
    if number := facts.get("identifiants[nir].valeur"):
        read = normalisation.nir(number)
        if read.controle == "invalide":
            raise Invalid("bad-nir", "Check the number: 13 characters, or 15 with a valid key.", path="nir")
        facts["identifiants[nir].valeur"] = read.valeur.valeur  # the plain text: a masked one finds nobody
    return facts
