"""Questions in the users' words: one favourable question per regime, to be spoiled one fact at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.policy import Policy, Question
from gateway.policy_table import DEFAULT, activate, sign

FAVOURABLE: dict[str, Any] = {
    "limitation": False,
    "household_link": "self",
    "age_status": "adult",
    "data_origin_regime": "none",
    "record_expired": False,
    "rate_exceeded": False,
    "convention_active": True,
    "client_habilitated": True,
    "agent_habilitated": True,
    "link_active": True,
    "recipient_secrecy": True,
    "both_professionals_act": True,
    "strict_necessity": True,
    "reason_hash": "f" * 40,
    "person_informed": True,
    "representative_notified": True,
    "break_glass": True,
    "human_validations": 2,
    "clock_ok": True,
    "art9_gate": "9.2.b",
    "consent_state": "not_applicable",
    "objection_state": "none",
}


@pytest.fixture(scope="session")
def policy() -> Policy:
    return Policy.load()


@pytest.fixture(scope="session")
def codes(policy: Policy) -> frozenset[str]:
    return frozenset(policy.table.categories)


@pytest.fixture(scope="session")
def ask() -> Callable[..., Question]:
    """`ask("departement", "france_travail", "SIFT", "orientation", "C1 C2")`: everything else is favourable."""

    def question(sender: str, recipient: str, regime: str, purpose: str, categories: str, **facts: Any) -> Question:
        said = {**FAVOURABLE, "referent": sender if sender != "caf_msa" else "aucun", **facts}
        return Question(
            sender=sender,
            recipient=recipient,
            regime=regime,
            purpose=purpose,
            categories=frozenset(categories.split()),
            **said,
        )

    return question


@pytest.fixture(scope="session")
def dpo_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def dpo_pem(dpo_key: Ed25519PrivateKey) -> bytes:
    return dpo_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="session")
def signed_table(tmp_path_factory: pytest.TempPathFactory, dpo_key: Ed25519PrivateKey) -> Callable[..., Path]:
    """`signed_table("A13", "A19")`: the table in which the DPO signed these proposed rules."""

    def write(*rules: str, content: bytes | None = None) -> Path:
        content = activate(content or DEFAULT.read_bytes(), rules, "DPO du Département", "2026-11-20")
        path = tmp_path_factory.mktemp("table") / "decision.toml"
        path.write_bytes(content)
        path.with_name("decision.toml.sig").write_bytes(sign(content, dpo_key))
        return path

    return write


@pytest.fixture(scope="session")
def with_rules(signed_table: Callable[..., Path], dpo_pem: bytes) -> Callable[..., Policy]:
    def load(*rules: str) -> Policy:
        return Policy.load(signed_table(*rules), require_signature=True, trusted=dpo_pem)

    return load
