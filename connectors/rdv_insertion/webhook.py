"""Receiving rdv-insertion's webhooks: who sent it, how old it is, what it says, and what it must not be taken for.

The signature covers the raw body and no nonce: a stale timestamp is refused, and `Pushed.replay_key` is for the
gateway to remember. The sender also signs with a JWT over three fields only; that form is refused, because the rest
of the body would not be protected. `destroyed` means erased at the source: never a cancellation.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import mappings
from connectors.contract import DocumentRefused, Envelope, Pushed
from connectors.json import digest, parse
from connectors.rdv_insertion.champs import allowed
from connectors.rdv_insertion.statuts import canonical
from connectors.rdv_insertion.usagers import is_erased, user_record
from schemas.record import Finding, PersonFacts, Record

DOCUMENT = "rdv_insertion.webhook"
HEADER = "x-rdvi-signature"
MAX_BYTES = 1024 * 1024
AHEAD = timedelta(minutes=5)
_EVENTS = frozenset({"created", "updated", "destroyed"})
_ROOT = frozenset({"data", "meta"})
_META = frozenset({"model", "event", "timestamp", "webhook_reason"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(Pushed):
    """A webhook whose sender is proved."""

    document: str = DOCUMENT
    event: str
    body: bytes = field(default=b"", repr=False)


def signature(headers: Mapping[str, str], secret: str) -> str:
    """The signature that a webhook bears. Raises `DocumentRefused` (``signature-missing``)."""
    given = next((value for name, value in headers.items() if name.lower() == HEADER), "").strip().lower()
    if not given or not secret:
        raise DocumentRefused("signature-missing", "sign the raw body with HMAC-SHA256 in X-RDVI-SIGNATURE")
    return given


def open_webhook(headers: Mapping[str, str], body: bytes, secret: str, now: datetime, window: timedelta) -> Webhook:
    """Prove a webhook, before anything parses it. Raises `DocumentRefused`.

    ``signature-missing``, ``signature-wrong``, ``stale-timestamp``, ``timestamp-ahead``, ``schema-invalid``, and the
    codes of `connectors.json`.
    """
    if len(body) > MAX_BYTES:
        raise DocumentRefused("too-large", f"at most {MAX_BYTES} bytes")
    given = signature(headers, secret)
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise DocumentRefused("signature-wrong", "the signature does not match the body")
    data, meta = _opened(body)
    sent_at = _moment(meta)
    if now - sent_at > window:
        raise DocumentRefused("stale-timestamp", "the message is too old")
    if sent_at - now > AHEAD:
        raise DocumentRefused("timestamp-ahead", "the message comes from the future: check the clocks")
    order = f"{meta['model']}:{data.get('id', '')}"
    gone = _keys(data) if meta["event"] == "destroyed" and meta["model"] == "Rdv" else ()
    erased = tuple((key, key.rpartition(":")[2]) for key in gone)
    # Timestamps are to the second: an erasure in the second of an update is another message.
    return Webhook(
        replay_key=f"{order}:{meta['timestamp']}:{meta['event']}", order_key=order, sent_at=sent_at,
        event=meta["event"], erased_places=erased, body=body,
    )  # fmt: skip


def _opened(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    value = parse(body, max_bytes=MAX_BYTES)
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("data"), dict)
        or not isinstance(value.get("meta"), dict)
    ):
        raise DocumentRefused("schema-invalid", "an object with data and meta")
    meta = value["meta"]
    if not isinstance(meta.get("model"), str) or meta.get("event") not in _EVENTS:
        raise DocumentRefused("schema-invalid", "meta names a model and an event", path="meta")
    return value["data"], meta


def _moment(meta: Mapping[str, Any]) -> datetime:
    try:
        moment = datetime.fromisoformat(str(meta.get("timestamp")))
        if moment.tzinfo is not None:
            return moment
    except ValueError:
        pass
    raise DocumentRefused("schema-invalid", "an instant with its zone", path="meta.timestamp")


def _keys(data: Mapping[str, Any]) -> Iterator[str]:
    """Record keys of the participations that an event speaks of."""
    told = data.get("participations")
    for participation in told if isinstance(told, list) else ():
        user = participation.get("user") if isinstance(participation, dict) else None
        if isinstance(user, dict) and user.get("id") is not None:
            yield f"{data.get('uuid') or data.get('id')}:{user['id']}"


class WebhookReading:
    """The records of one webhook: one per participation, so that each person has her own status."""

    def __init__(self, body: bytes, departement: str) -> None:
        self._data, self._meta = _opened(body)
        self._departement = departement
        self._sent_at = _moment(self._meta)
        whole = parse(body, max_bytes=MAX_BYTES)
        strangers = [*(whole.keys() - _ROOT), *(f"meta.{name}" for name in self._meta.keys() - _META)]
        self._strangers = [Finding("unknown-field", name[:80], "notice") for name in sorted(strangers)]
        self.envelope = Envelope(
            DOCUMENT,
            emitted_at=self._sent_at,
            key=f"{self._meta['model']}:{self._data.get('id', '')}:{self._meta['timestamp']}",
            organisme=str(_of(self._data, "organisation", "id") or ""),
        )

    def __iter__(self) -> Iterator[Record]:
        if self._meta["model"] == "Rdv":
            yield from self._rendez_vous()
        elif self._meta["model"] == "Invitation" and isinstance(self._data.get("user"), dict):
            yield self._invited()
        else:
            told = Finding("resource-not-carried", f"meta.model {self._meta['model']}"[:80], "notice")
            yield Record(self.envelope.key, [], findings=[told, *self._strangers], digest=digest(self._data))

    def _invited(self) -> Record:
        """An invitation has no place in the record; the person it names does."""
        record = user_record(self._data["user"], self._departement, "data.user")
        record.findings += [Finding("resource-not-carried", "data", "notice", detail="Invitation"), *self._strangers]
        record.asserted_at = self._sent_at
        return record

    def _rendez_vous(self) -> Iterator[Record]:
        findings = list(self._strangers)
        rdv = allowed(self._data, "rdv", "data", findings)
        participations = rdv.pop("participations", [])
        if not participations:
            findings.append(Finding("missing-element", "data.participations", "reject"))
            yield Record(self.envelope.key, [], findings=findings, digest=digest(rdv))
        shaped = self._shaped(rdv)
        for position, participation in enumerate(participations):
            yield self._participation(shaped, participation, list(findings), f"data.participations[{position}]")

    def _shaped(self, rdv: dict[str, Any]) -> dict[str, Any]:
        """The rendez-vous in the words of the mapping: no home address, numbers of the two systems side by side."""
        shaped = {name: item for name, item in rdv.items() if name not in {"id", "rdv_solidarites_rdv_id"}}
        shaped["uuid"] = rdv.get("uuid") or rdv.get("id", "")
        numbers = (("rdv_insertion", rdv.get("id")), ("rdv_service_public", rdv.get("rdv_solidarites_rdv_id")))
        shaped["identifiants"] = [f"{system}:{number}" for system, number in numbers if number]
        lieu = shaped.pop("lieu", {}) if isinstance(shaped.get("lieu"), dict) else {}
        if _of(rdv, "motif", "location_type") == "home":
            shaped.pop("address", None)
        elif lieu.get("name"):
            shaped["lieu"] = {"name": lieu["name"]}
        if "address" not in shaped and lieu.get("address") and _of(rdv, "motif", "location_type") != "home":
            shaped["address"] = lieu["address"]
        if _of(rdv, "motif", "motif_category", "short_name") == "rsa_premier_rdv_daccompagnement":
            shaped["premier"] = True
        shaped["emis_le"] = self._meta["timestamp"]
        return shaped

    def _participation(
        self, rdv: dict[str, Any], participation: dict[str, Any], findings: list[Finding], path: str
    ) -> Record:
        user = participation.get("user", {})
        key = f"{rdv['uuid']}:{user.get('id', '')}"
        who = user_record(user, self._departement, f"{path}.user", checked=True)
        if self._meta["event"] == "destroyed":
            return self._erased(key, who, rdv["uuid"], findings)
        told = rdv | {"statut": canonical(str(participation.get("status", "")), self._past(rdv))}
        if "created_by" in participation:
            told["created_by"] = participation["created_by"]
        read: Record = mappings.load(DOCUMENT).read({"cle": key, "rdv": told})
        facts = who.personnes[0].facts | read.personnes[0].facts if who.personnes else {}
        return Record(
            key,
            [PersonFacts(facts, key=str(user.get("id", "")))] if facts else [],
            who.foyer,
            findings + who.findings + read.findings,
            self._sent_at,
            digest({"rdv": {**rdv, "emis_le": ""}, "participation": participation}, findings),
            partial=False,
        )

    def _erased(self, key: str, who: Record, uuid: str, findings: list[Finding]) -> Record:
        """Erased at the source: what this source said under this key goes, and nothing is announced as cancelled."""
        purge = Finding("source-erasure", "meta.event", "notice", detail=str(self._meta.get("webhook_reason", ""))[:20])
        findings = [*findings, purge]
        rgpd = self._meta.get("webhook_reason") == "rgpd" or is_erased(who)
        if rgpd or not who.personnes:
            return Record(key, [], {}, findings, self._sent_at, digest([key, "erased"]), partial=False)
        named = {
            path: value
            for path, value in who.personnes[0].facts.items()
            if path.startswith("identifiants[")
            or path in ("personne.nom_usage", "personne.nom_naissance", "personne.prenoms", "personne.date_naissance")
        }
        facts = named | {f"rendez_vous[rdv_insertion:{uuid}].statut": "efface_source"}
        who_erased = PersonFacts(facts, key=key.rpartition(":")[2])
        return Record(key, [who_erased], {}, findings, self._sent_at, digest([key, "erased"]), partial=False)

    def _past(self, rdv: Mapping[str, Any]) -> bool:
        try:
            return datetime.fromisoformat(str(rdv.get("starts_at"))) <= self._sent_at
        except (ValueError, TypeError):
            return False


def _of(value: Mapping[str, Any], *path: str) -> Any:
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
