"""What a basis record says: one shape for information, consent, objection, limitation, protection and validation.

Fields follow ISO/IEC TS 27560 (consent record) and what the GDPR demands beyond it. The fields that name people hold
pseudonyms or digests only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway import clock
from gateway.policy_obligations import hours
from gateway.policy_table import Regime, Table

Kind = Literal["information", "consent", "objection", "limitation", "protection", "validation"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]


def _instant(text: str) -> str:
    """An RFC 3339 instant as the gateway writes it: UTC, microseconds."""
    return clock.instant(datetime.fromisoformat(text))


Instant = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"format": "date-time"})]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Controller(_Strict):
    """A controller (responsable de traitement), GDPR 13(1)(a) and 26."""

    nom: str = Field(min_length=1, max_length=200)
    adresse: str = Field(min_length=1, max_length=300)
    contact: str = Field(min_length=1, max_length=200)
    siren: str = Field(pattern=r"^\d{9}(\d{5})?$")
    role: str


class Evidence(_Strict):
    """What proves it, GDPR 7(1): the digest of a signed paper, an oral statement an agent attests, an e-signature."""

    kind: Literal["signed_pdf", "oral_attested", "e_signature"]
    sha256: Sha256 | None = None
    agent: Pseudonym | None = None
    witnessed_at: Instant

    @model_validator(mode="after")
    def _complete(self) -> Evidence:
        if self.kind == "oral_attested" and self.agent is None:
            raise ValueError("an oral statement names the agent who attests it, by pseudonym")
        if self.kind != "oral_attested" and self.sha256 is None:
            raise ValueError("a document is named by its SHA-256")
        return self


class Basis(_Strict):
    """One record. `regime` and `purpose` may be empty where they bound nothing (a limitation of everything)."""

    schema_version: Literal["maillon-basis-1"] = "maillon-basis-1"
    kind: Kind
    person_id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    subject_ref: Pseudonym
    """The person's pairwise pseudonym for the body that keeps the record."""
    notice_id: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,63})?$",
        description="Empty, with version 0, for a right she uses without having been given a notice: a limitation, an "
        "objection.",
    )
    notice_version: int = Field(0, ge=0)
    language: str = Field("fr", pattern=r"^[a-z]{2}$")
    falc: bool = Field(False, description="The person was given the easy-to-read variant.")
    regime: str = Field(description="Of the decision table.")
    purpose: str = Field(description="Of the decision table, by its name.")
    purpose_text: str = Field(min_length=1, max_length=500, description="As it was told to the person.")
    legal_basis: Literal["a", "c", "d", "e"] = Field(description="Letter of GDPR 6(1).")
    article: list[str] = Field(min_length=1, description="Each text by its abbreviation and number: CASF L263-4-1.")
    categories: list[str] = Field(description="C-codes of the decision table.")
    art9_gate: str = Field("none", description="Of the decision table; `9.2.a` for her explicit consent.")
    controllers: list[Controller] = Field(
        default_factory=list,
        description="Empty as the notice is: a limitation, or an objection, then holds for every controller of its "
        "regime.",
    )
    recipients: list[str] = Field(
        default_factory=list, description="Ids of bodies; empty: every recipient of the regime and purpose."
    )
    channel: Literal["face_to_face", "phone", "online", "paper"]
    collection_method: str = Field(min_length=1, max_length=200)
    storage_location: str = Field(min_length=1, max_length=200)
    jurisdiction: str = Field("FR", pattern=r"^[A-Z]{2}$")
    retention: str = Field(pattern=r"^P\d", description="ISO 8601.")
    withdrawal_method: str = Field(min_length=1, max_length=300)
    rights: list[str] = Field(min_length=1)
    authority: str = "CNIL"
    valid_from: Instant | None = Field(None, description="Now, when not said.")
    valid_until: Instant | None = Field(None, description="A consent always ends: its regime says how late.")
    actor_kind: Literal["self", "legal_representative", "curator"] = "self"
    mandate_ref: str = Field(
        "", pattern=r"^[0-9a-f]{0,64}$", description="Digest of the mandate, when somebody else acts."
    )
    evidence: Evidence | None = None
    reason_hash: str = Field("", pattern=r"^[0-9a-f]{0,64}$")
    supersedes: str = Field("", pattern=r"^([0-9a-f-]{36})?$")
    age_status: Literal["", "minor", "protected_adult"] = Field(
        "", description="For a protection: why a representative is needed."
    )

    @model_validator(mode="after")
    def _coherent(self) -> Basis:
        if bool(self.notice_id) != bool(self.notice_version):
            raise ValueError("a notice is named with its version")
        if self.kind not in ("limitation", "objection") and not (self.notice_id and self.controllers):
            raise ValueError("what was told to a person names its notice and its controllers")
        if self.actor_kind != "self" and not self.mandate_ref:
            raise ValueError("whoever acts for somebody else names a mandate")
        if self.kind == "protection" and not self.age_status:
            raise ValueError("a protection says why: minor or protected_adult")
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValueError("valid_until comes before valid_from")
        return self

    @property
    def special_category(self) -> bool:
        return bool({"C13", "C14", "C15"}.intersection(self.categories))


AGAINST_LAW: Mapping[str, str] = {
    "regime-unknown": "Name a regime of the decision table.",
    "purpose-unknown": "Name a purpose of the decision table.",
    "category-unknown": "Name categories of the decision table.",
    "gate-unknown": "Name a gate of article 9 that the decision table has.",
    "objection-not-available": "This regime leaves no right to object: tell her so, or name another regime.",
    "consent-not-the-basis": "This regime does not rest on consent: inform her instead.",
    "basis-mismatch": "Give the legal basis that the decision table gives to this regime.",
    "consent-not-specific": "Name what she agrees to: a purpose, recipients and categories.",
    "category-never-leaves": "Leave out C18 and C19: no consent makes them leave.",
    "explicit-consent-needed": "Leave health data out, or ask for her explicit consent: art9_gate 9.2.a.",
    "expiry-needed": "Say when the consent ends: valid_until.",
    "expiry-too-late": "Bring valid_until nearer: the consent would outlive what its regime allows.",
}
"""What whoever makes a record has to correct, by code of `against_law`."""


def against_law(basis: Basis, law: Table, start: str) -> str:
    """Why the law refuses this record (a code of `AGAINST_LAW`), or nothing."""
    if basis.regime and basis.regime not in law.regimes:
        return "regime-unknown"
    if basis.purpose and basis.purpose not in law.purposes:
        return "purpose-unknown"
    if not set(basis.categories) <= law.categories.keys():
        return "category-unknown"
    if basis.art9_gate not in law.domains["art9_gate"]:
        return "gate-unknown"
    regime = law.regimes.get(basis.regime)
    if basis.kind == "consent":
        return _consent_refused(basis, regime, start)
    if basis.kind == "objection" and (regime is None or regime.objection in ("not_available", "not_applicable")):
        return "objection-not-available"
    if basis.kind in ("information", "validation") and regime is None:
        return "regime-unknown"
    return ""


def _consent_refused(basis: Basis, regime: Regime | None, start: str) -> str:
    if regime is None or regime.consent != "required":
        return "consent-not-the-basis"  # asking for it would be a false choice (GDPR recital 43)
    if basis.legal_basis not in regime.bases:
        return "basis-mismatch"
    if not basis.purpose or not basis.recipients or not basis.categories:
        return "consent-not-specific"
    if {"C18", "C19"}.intersection(basis.categories):
        return "category-never-leaves"
    if basis.special_category and basis.art9_gate != "9.2.a":
        return "explicit-consent-needed"
    if basis.valid_until is None:
        return "expiry-needed"
    span = datetime.fromisoformat(basis.valid_until) - datetime.fromisoformat(start)
    return "expiry-too-late" if span.total_seconds() / 3600 > hours(regime.retention) + 36 else ""


CONSENT = ("requested", "given", "reconfirmed", "refused", "withdrawn", "expired", "superseded", "invalidated")
LIFE: Mapping[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "consent": (CONSENT, frozenset(CONSENT[3:])),
    "objection": (("raised", "upheld", "rejected", "retracted"), frozenset({"upheld", "rejected", "retracted"})),
    "information": (("informed", "superseded"), frozenset({"superseded"})),
    "limitation": (("set", "lifted"), frozenset({"lifted"})),
    "protection": (("set", "notified", "ended"), frozenset({"ended"})),
    "validation": (("validated", "superseded"), frozenset({"superseded"})),
}
"""Events of each kind, at one instant the most restrictive last for a consent and first for an objection; and those
that end the record."""
JOURNAL = {
    "requested": "consent.request", "given": "consent.give", "reconfirmed": "consent.reconfirm",
    "refused": "consent.refuse", "withdrawn": "consent.withdraw", "expired": "consent.expire",
    "superseded": "consent.supersede", "invalidated": "consent.invalidate", "informed": "basis.inform",
    "raised": "basis.object", "upheld": "basis.object_upheld", "rejected": "basis.object_rejected",
    "retracted": "right.answer", "lifted": "right.unlimit", "notified": "basis.inform", "ended": "basis.protect",
    "validated": "basis.validate",
}  # fmt: skip
"""Event of a record to event of the journal; `set` depends on the kind."""


def fold(kind: str, events: list[tuple[str, str]]) -> str:
    """State of a record from its events (name, recorded_at): an ended record stays ended, in any order of writing."""
    order, ends = LIFE[kind]
    state = ""
    for name, _ in sorted(events, key=lambda event: (event[1], order.index(event[0]))):
        if state in ends:
            break
        state = "given" if name == "reconfirmed" else name
    return state
