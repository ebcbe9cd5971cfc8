"""API Particulier v3: what the CAF or MSA says of one person, asked by her civil identity. Read on request only.

    async for document, content in connector.pull("api_particulier.quotient_familial", identity, transport): ...

A person that is not found is not someone without rights: 404 brings nothing and asserts nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlencode

import mappings
from connectors import json as strict
from connectors import kit, manifest
from connectors.contract import Acknowledgement, Contact, DocumentRefused, Envelope, NotObtained, Outgoing
from connectors.failures import TransportError
from schemas import normalisation
from schemas.record import Current, Record, Written

if TYPE_CHECKING:
    from connectors.transport import Answer, Transport

QUOTIENT = "api_particulier.quotient_familial"
RSA = "api_particulier.revenu_solidarite_active"
CHEMINS = {
    QUOTIENT: "/v3/dss/quotient_familial/identite",
    RSA: "/v3/dss/revenu_solidarite_active/identite",
}
FRANCE = "99100"
_SEXES = {"masculin": "M", "feminin": "F", "M": "M", "F": "F"}
_REFUS = {401: "token-refused", 403: "scope-missing", 422: "invalid-input", 400: "invalid-input"}


@dataclass(slots=True)
class _Lecture:
    """A `Reading` of one answer: at most one record."""

    envelope: Envelope
    records: list[Record] = field(default_factory=list)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


class ApiParticulier:
    """`api_url`, `jeton` and `recipient` (SIRET of the administration that uses the answer) come from the settings."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self._settings = settings

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> _Lecture:
        """One answer of the API, whole. Raises `DocumentRefused`: ``unknown-document``, ``wrong-shape``, ``json-*``."""
        if document not in CHEMINS:
            raise DocumentRefused("unknown-document", f"API Particulier does not give {document}")
        answer = strict.read(source)
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise DocumentRefused("wrong-shape", "an answer of API Particulier v3 holds its values under data")
        reading = _Lecture(Envelope(document, counted=1))
        if document == RSA and data.get("est_beneficiaire") is not True:
            return reading  # « not a beneficiary » may be a caisse that is late or down: it is no fact
        quotient = data.get("quotient_familial")
        if (
            isinstance(quotient, dict)
            and isinstance(quotient.get("annee"), int)
            and isinstance(quotient.get("mois"), int)
        ):
            quotient["debut"] = f"{quotient['annee']:04d}-{quotient['mois']:02d}-01"
        if "adresse" in data:  # without the scope of the names, it is still that of the person asked about
            data.setdefault("allocataires", [{}])
        reading.records.append(mappings.load(document).read(data))
        return reading

    def write(self, document: str, current: Current, **context: Any) -> Written:
        raise DocumentRefused("unknown-document", "API Particulier is read only")

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        return Acknowledgement("refused", "read-only", detail="API Particulier is read only")

    async def contacts(self, transport: Transport) -> AsyncIterator[Contact]:
        """Ask each document about nobody: an accepted token with its scope gets 422 for the missing identity."""
        headers = {"Authorization": f"Bearer {self._settings['jeton']}", "Accept": "application/json"}
        for document, path in CHEMINS.items():
            url = f"{self._settings['api_url'].rstrip('/')}{path}?" + urlencode(
                {"recipient": self._settings["recipient"]}
            )
            try:
                answer = await transport.request("GET", url, headers=headers, again=lambda answer: False)
            except TransportError as error:
                yield Contact(document, error.code)
            else:
                accepted = answer.status in (200, 404, 422)
                yield Contact(document, "" if accepted else _REFUS.get(answer.status, f"http-{answer.status}"))

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Ask about one person by her civil identity: `nom_naissance`, `prenoms` (blanks between them), `sexe`,
        `date_naissance`, `commune_naissance` or `pays_naissance` (INSEE codes), `nom_usage`.

        Yields nothing when she is not found. Raises `NotObtained`.
        """
        if document not in CHEMINS:
            raise NotObtained("refused", "document-unknown")
        url = f"{self._settings['api_url'].rstrip('/')}{CHEMINS[document]}?{self._query(identifiers)}"
        headers = {"Authorization": f"Bearer {self._settings['jeton']}", "Accept": "application/json"}
        try:
            # 5xx answers are not tried again at once: the caisses behind need minutes, and 20 requests/s is the limit.
            answer = await transport.request("GET", url, headers=headers, again=lambda answer: False)
        except TransportError as error:
            raise kit.not_obtained(error) from None
        if (content := self._content(answer, identifiers)) is not None:
            yield document, content

    def _query(self, identity: Mapping[str, str]) -> str:
        sexe, nom = _SEXES.get(identity.get("sexe", "")), identity.get("nom_naissance", "").strip()
        prenoms, commune = identity.get("prenoms", "").split()[:3], identity.get("commune_naissance", "")
        pays = identity.get("pays_naissance", "") or (FRANCE if commune else "")
        if not (sexe and nom and prenoms and pays) or (pays == FRANCE and not commune):
            raise NotObtained("waiting", "identity-incomplete")
        query: list[tuple[str, str]] = [("recipient", self._settings["recipient"]), ("nomNaissance", nom)]
        query += [("prenoms[]", prenom) for prenom in prenoms]
        if usage := identity.get("nom_usage", ""):
            query.append(("nomUsage", usage))
        parts = identity.get("date_naissance", "").split("-")
        names = ("anneeDateNaissance", "moisDateNaissance", "jourDateNaissance")
        query += [(name, str(int(part))) for name, part in zip(names, parts, strict=False) if part.isdigit()]
        query += [("sexeEtatCivil", sexe), ("codeCogInseePaysNaissance", pays)]
        if pays == FRANCE:
            query.append(("codeCogInseeCommuneNaissance", commune))
        return urlencode(query)

    def _content(self, answer: Answer, identity: Mapping[str, str]) -> bytes | None:
        """The body, of the person asked about only; None when she is unknown there. Raises `NotObtained`."""
        status = answer.status
        if status == 404:
            return None
        if status in _REFUS:
            raise NotObtained("refused", _REFUS[status])
        if status != 200:
            raise NotObtained("retry", f"http-{status}", answer.retry_after())
        try:
            body = strict.parse(answer.content)
        except DocumentRefused as refused:
            raise NotObtained("retry", refused.code) from None
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict):
            raise NotObtained("retry", "wrong-shape")
        if "allocataires" in data:
            data["allocataires"] = _asked(data["allocataires"], identity)
            if not data["allocataires"]:  # the service corrects spellings: whose household this is, a human says
                raise NotObtained("refused", "person-unclear")
        data.pop("enfants", None)
        return json.dumps({"data": data}, ensure_ascii=False).encode()


def _asked(allocataires: Any, identity: Mapping[str, str]) -> list[Any]:
    """Of a couple, the one asked about: same first name and compatible birth date. Nobody when it is not clear."""
    first = (identity.get("prenoms", "").split() or [""])[0]
    found = [
        one
        for one in (allocataires if isinstance(allocataires, list) else [])
        if isinstance(one, dict)
        and first
        and normalisation.same_name((str(one.get("prenoms") or "").split() or [""])[0], first)
        and _same_date(str(one.get("date_naissance") or ""), identity.get("date_naissance", ""))
    ]
    return found if len(found) == 1 else []


def _same_date(one: str, other: str) -> bool:
    """Whether two dates agree on the parts that both know (`00` is unknown)."""
    pairs = zip(one.split("-"), other.split("-"), strict=False)
    return all(not a.strip("0") or not b.strip("0") or a == b for a, b in pairs)


def create(settings: Mapping[str, str]) -> ApiParticulier:
    """The connector from its settings."""
    return ApiParticulier(settings)
