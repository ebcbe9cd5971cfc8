"""The accompagnement global, which WebRSA's flows have no block for: a small JSON document of this project.

Its JSON Schema is `schemas/partner/departement/accompagnement.schema.json`, made from the models below. Two rules come
from the conventions signed between Départements and France Travail (circular framework of 2014 and after): one member
on the social side and one on the employment side, and a person who chose it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import mappings
from connectors.contract import DocumentRefused, Envelope
from connectors.json import digest, read
from schemas.record import Finding, Record

DOCUMENT = "departement.accompagnement"
Texte = Annotated[str, Field(min_length=1, max_length=200)]
Jour = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Objet(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Personne(_Objet):
    idDepartement: Texte | None = None
    nir: Annotated[str, Field(min_length=13, max_length=21)] | None = None
    nomNaissance: Texte | None = None
    nomUsage: Texte | None = None
    prenom: Texte
    dateNaissance: Jour


class Professionnel(_Objet):
    nom: Texte
    prenom: Texte | None = None
    courriel: Texte | None = None
    telephone: Texte | None = None
    role: Texte | None = None


class Organisation(_Objet):
    nom: Texte
    nature: Texte | None = None


class Membre(_Objet):
    id: Texte
    cote: Literal["social", "emploi"]
    referent: bool = False
    professionnel: Professionnel
    organisation: Organisation | None = None
    depuis: Jour
    jusqua: Jour | None = None


class Information(_Objet):
    """That the person was told, when and how; the proof itself stays in the register of legal bases."""

    donneeLe: Jour
    canal: Literal["oral", "ecrit", "courriel", "courrier"] | None = None


class Accompagnement(_Objet):
    id: Texte
    personne: Personne
    nature: Literal["global", "social", "professionnel", "socio_professionnel", "rsa_ccas", "cae"]
    volontaire: bool | None = None
    convention: Texte | None = None
    operationFinancee: Texte | None = None
    debut: Jour
    finPrevue: Jour | None = None
    fin: Jour | None = None
    motifFin: Texte | None = None
    dureeMois: Annotated[int, Field(ge=1, le=120)] | None = None
    renouvelable: bool | None = None
    renouvellements: Annotated[list[Jour], Field(max_length=20)] | None = None
    intensite: Literal["leger", "regulier", "intensif"] | None = None
    membres: Annotated[list[Membre], Field(min_length=1, max_length=20)]
    information: Information | None = None


class Envoi(_Objet):
    emisLe: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T[0-9:.]+(Z|[+-]\d{2}:\d{2})$")] | None = None
    accompagnements: Annotated[list[Any], Field(max_length=10_000)]


def schema() -> dict[str, Any]:
    """The JSON Schema of the whole document."""
    whole = Accompagnement.model_json_schema(ref_template="#/$defs/{model}")
    definitions = whole.pop("$defs") | {"Accompagnement": whole}
    envoi = Envoi.model_json_schema()
    envoi["properties"]["accompagnements"]["items"] = {"$ref": "#/$defs/Accompagnement"}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:maillon:{DOCUMENT}:1"}
    return head | envoi | {"title": "Accompagnements", "$defs": definitions}


class AccompagnementReading:
    """One sending: an object with `accompagnements`, or one accompagnement alone."""

    def __init__(self, source: BinaryIO, departement: str) -> None:
        value = read(source)
        if isinstance(value, dict) and "accompagnements" not in value:
            value = {"accompagnements": [value]}
        try:
            envoi = Envoi.model_validate(value)
        except ValidationError as error:
            raise DocumentRefused("schema-invalid", "an object with accompagnements", path=_place(error)) from None
        try:
            self._emitted = None if envoi.emisLe is None else datetime.fromisoformat(envoi.emisLe)
        except ValueError:
            raise DocumentRefused("schema-invalid", "an instant, with its zone", path="emisLe") from None
        self._departement = departement
        self._items = envoi.accompagnements
        self.envelope = Envelope(DOCUMENT, emitted_at=self._emitted, counted=len(self._items))

    def __iter__(self) -> Iterator[Record]:
        mapping = mappings.load(DOCUMENT)
        for position, item in enumerate(self._items):
            yield self._record(mapping, position, item)

    def _record(self, mapping: Any, position: int, item: Any) -> Record:
        try:
            read_ = Accompagnement.model_validate(item)
        except ValidationError as error:
            where = f"accompagnements[{position}].{_place(error)}"
            return Record(
                f"#{position}", [], findings=[Finding("schema-invalid", where, "reject")], digest=digest(item)
            )
        record: Record = mapping.read(item, departement=self._departement)
        record.asserted_at = self._emitted
        record.findings += _binome(read_, f"accompagnements[{position}]")
        return record


def _binome(one: Accompagnement, path: str) -> list[Finding]:
    """What an accompagnement global lacks, for a human to see; its facts are kept."""
    found = []
    if one.information is not None:
        found.append(Finding("information-declared", f"{path}.information", "notice"))
    if one.nature == "global" and one.fin is None:
        sides = {membre.cote for membre in one.membres if membre.jusqua is None}
        if sides != {"social", "emploi"}:
            found.append(Finding("binome-incomplete", f"{path}.membres", detail="one social and one emploi member"))
        if one.volontaire is not True:
            found.append(Finding("volunteer-missing", f"{path}.volontaire", detail="the person must have chosen it"))
    for side in ("social", "emploi"):
        if sum(m.referent and m.jusqua is None and m.cote == side for m in one.membres) > 1:
            found.append(Finding("several-referents", f"{path}.membres", detail=f"one at a time on the side {side}"))
    return found


def _place(error: ValidationError) -> str:
    """Where the first error is, in the document's own words; unknown names are not repeated."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]
    return ".".join(map(str, place))


if __name__ == "__main__":
    print(json.dumps(schema(), ensure_ascii=False, indent=2))
