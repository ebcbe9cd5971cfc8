"""The table as a document: complete, readable, signed, and refused when nobody could sign it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import words
from gateway.console import law_words
from gateway.journal_entry import EVENTS, FIELDS, PURPOSES, REGIMES
from gateway.policy import Policy, Question, replay
from gateway.policy_obligations import hours, merge
from gateway.policy_table import DEFAULT, FOLDER, OBLIGATIONS, lint, parse_obligation, read, sign
from gateway.problems import Misconfigured

Ask = Callable[..., Question]


def _write(folder: Path, content: str) -> Path:
    path = folder / "decision.toml"
    path.write_text(content)
    return path


def test_every_rule_of_the_law_is_there(policy: Policy) -> None:
    ids = {rule.id for rule in policy.table.rules}
    assert ids >= {"D99"} | {f"D{n:02}" for n in range(22)} | {f"A{n:02}" for n in range(1, 20)}
    proposed = {rule.id for rule in policy.table.rules if rule.proposed}
    assert proposed >= {"D21"} | {f"A{n}" for n in range(13, 20)}
    waiting = {rule.id for rule in policy.table.rules if not rule.in_force}
    assert waiting == {f"A{n}" for n in range(13, 20)}, "a proposed rule that restricts already applies"
    assert sorted(policy.table.purposes.values(), key=lambda code: int(code[1:])) == [f"P{n}" for n in range(1, 17)]
    assert len(policy.table.regimes) == 9
    assert len(policy.table.domains["sender"]) == 8


def test_every_rule_says_why_and_what_follows(policy: Policy) -> None:
    for row in policy.table.source["rule"]:
        assert row["article"], row["id"]
        assert row["obligations"], row["id"]
        if row["id"] not in ("A12", "D20"):
            assert row["text_fr"].endswith("."), row["id"]
            assert row["text_falc"].endswith("."), row["id"]
        for name, arguments in map(parse_obligation, row["obligations"]):
            assert name in OBLIGATIONS, row["id"]
            if name in ("retain", "expiry", "second_person"):
                assert hours(arguments[0]) >= 0
    for name, regime in policy.table.regimes.items():
        assert hours(regime.traces) > 0, name
        assert hours(regime.retention) > 0, name


def test_the_journal_can_say_every_word_of_the_table(policy: Policy) -> None:
    table = policy.table
    for row in [*table.rules, *table.pairs.values(), *table.onward, *table.regimes.values()]:
        assert FIELDS["article"](list(row.articles)) is not None, row
    for rule in table.rules:
        assert FIELDS["reason_code"](rule.reason) is not None, rule.id
        assert FIELDS["rule_ids"]([rule.id]) is not None
    assert set(table.purposes) <= PURPOSES
    assert set(table.regimes) <= REGIMES
    assert "policy.change" in EVENTS


def test_the_shipped_table_passes_its_own_lint() -> None:
    assert lint() == []


BROKEN = {
    "no article": (r'(id = "D13"[\s\S]*?)article = \[[^\]]*\]', r"\1article = []", "policy-article"),
    "an unknown fact": ("when = { clock_ok = false }", "when = { weather = false }", "policy-fact"),
    "an unknown value": ("when = { clock_ok = false }", 'when = { clock_ok = "no" }', "policy-value"),
    "a permit without obligation": (r'(id = "A01"[\s\S]*?)obligations = \[[^\]]*\]', r"\1obligations = []", "policy-permit"),  # noqa: E501
    "a permit without notice": ('notice = "pie"\n', "", "policy-permit"),
    "an unknown category": ('categories = ["C24"]', 'categories = ["C25"]', "policy-category"),
    "a rule written twice": ('id = "D20"', 'id = "D19"', "policy-duplicate"),
    "a refusal without its status": (r"http = 429\n", "", "policy-field"),
    "a signature without its date": ('effect = "permit"', 'effect = "permit"\nsigned_by = "DPO"', "policy-field"),
    "no last resort": ('id = "D00"', 'id = "D98"', "policy-default"),
    "an unknown role": ('to = "commune"\nboth_ways', 'to = "mairie"\nboth_ways', "policy-pair"),
    "a fact forgotten": (r"clock_ok = \{[^\n]*\n", "", "policy-facts"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_table_nobody_could_sign_is_refused(tmp_path: Path, what: str) -> None:
    pattern, replacement, code = BROKEN[what]
    text, count = re.subn(pattern if "\\" in pattern else re.escape(pattern), replacement, DEFAULT.read_text(), count=1)
    assert count == 1
    path = _write(tmp_path, text)
    with pytest.raises(Misconfigured, match=code):
        read(path)
    assert any(f": {code} " in line and line.startswith(str(path)) for line in lint(path))


def test_an_unknown_obligation_turns_the_permit_into_a_refusal(tmp_path: Path, ask: Ask) -> None:
    text = DEFAULT.read_text().replace('"retain(P2Y)", "no_onward', '"engrave(stone)", "no_onward')
    path = _write(tmp_path, text)
    decision = Policy.load(path).decide(ask("departement", "ccas", "PIE", "accompagnement", "C1"))
    assert (decision.permits, decision.reason) == (False, "obligation-unsupported")
    assert any("policy-obligation" in line for line in lint(path))


def test_the_lint_tells_whatever_a_hand_may_have_saved(tmp_path: Path) -> None:
    quoted = re.sub(r'id = "(A\d+)"', r"id = '\1'", DEFAULT.read_text()).replace('"retain(P2Y)"', '"engrave(stone)"')
    assert any(": policy-obligation " in line for line in lint(_write(tmp_path, quoted)))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(DEFAULT.read_bytes().decode().encode("latin-1", "replace"))
    (told,) = lint(latin)
    assert told.startswith(f"{latin}:1: policy-toml ")


def test_a_table_that_cannot_be_read_is_told_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"policy-missing.* operator .*MAILLON_POLICY_FILE"):
        Policy.load(tmp_path / "none.toml")
    with pytest.raises(Misconfigured, match=r"policy-invalid.*line 1.* officer "):
        Policy.load(_write(tmp_path, "[[rule]"))
    with pytest.raises(IsADirectoryError):  # it is there: what the system says of it is told, as of a closed file
        Policy.load(tmp_path)


def test_production_refuses_a_table_that_is_unsigned_or_altered(
    tmp_path: Path, signed_table: Callable[..., Path], dpo_pem: bytes
) -> None:
    with pytest.raises(Misconfigured, match="policy-unsigned"):
        Policy.load(_write(tmp_path, DEFAULT.read_text()), require_signature=True, trusted=dpo_pem)
    path = signed_table("A13")
    assert Policy.load(path, require_signature=True, trusted=dpo_pem).table.signed
    with pytest.raises(Misconfigured, match="policy-altered"):
        Policy.load(path, require_signature=True, trusted=b"")
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    with pytest.raises(Misconfigured, match="policy-altered"):
        Policy.load(path, trusted=stranger)
    assert Policy.load(path, require_signature=True, trusted=stranger + dpo_pem).table.signed
    with pytest.raises(Misconfigured, match="policy-trusted"):
        Policy.load(path, require_signature=True, trusted=dpo_pem[:40] + dpo_pem[48:])
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Misconfigured, match="policy-altered"):
        Policy.load(path, require_signature=True, trusted=dpo_pem)


def test_a_proposed_rule_named_as_signed_in_an_unsigned_file_stays_inactive(
    tmp_path: Path, signed_table: Callable[..., Path], ask: Ask
) -> None:
    path = _write(tmp_path, signed_table("A13").read_text())
    decision = Policy.load(path).decide(ask("departement", "france_travail", "SIFT", "identification", "C1"))
    assert (decision.permits, decision.proposed) == (False, ("A13",))


def test_openssl_alone_signs_and_verifies(tmp_path: Path) -> None:
    """What README.md tells the DPO to type works, without the gateway."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def run(*command: str) -> None:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    _write(tmp_path, DEFAULT.read_text())
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "dpo.key")
    run("openssl", "pkey", "-in", "dpo.key", "-pubout", "-out", "dpo.pem")
    run("openssl", "pkeyutl", "-sign", "-inkey", "dpo.key", "-rawin", "-in", "decision.toml", "-out", "signature")
    (tmp_path / "decision.toml.sig").write_bytes(base64.b64encode((tmp_path / "signature").read_bytes()))
    trusted = (tmp_path / "dpo.pem").read_bytes()
    assert Policy.load(tmp_path / "decision.toml", require_signature=True, trusted=trusted).table.signed
    key = serialization.load_pem_private_key((tmp_path / "dpo.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    (tmp_path / "ours").write_bytes(base64.b64decode(sign(DEFAULT.read_bytes(), key)))
    run(
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "dpo.pem",
        "-rawin",
        "-in",
        "decision.toml",
        "-sigfile",
        "ours",
    )


def test_the_bridge_is_signed_with_the_table(tmp_path: Path) -> None:
    annexes = tomllib.loads(DEFAULT.read_text())["annexes"]
    assert annexes == {"categories.toml": hashlib.sha256((FOLDER / "categories.toml").read_bytes()).hexdigest()}
    path = _write(tmp_path, DEFAULT.read_text())
    (tmp_path / "categories.toml").write_text((FOLDER / "categories.toml").read_text().replace('"C13"', '"C9"'))
    with pytest.raises(Misconfigured, match="policy-altered"):
        read(path)
    copy = hashlib.sha256((tmp_path / "categories.toml").read_bytes()).hexdigest()
    path.write_text(path.read_text().replace(annexes["categories.toml"], copy))
    with pytest.raises(Misconfigured, match="policy-altered"):
        read(path)  # the copy is signed, and the one that is applied is not


def test_the_version_is_the_digest_of_the_bytes(policy: Policy, ask: Ask) -> None:
    assert policy.version == hashlib.sha256(DEFAULT.read_bytes()).hexdigest()
    assert policy.decide(ask("caf_msa", "departement", "RSA", "instruction_rsa", "C1")).policy_version == policy.version


@pytest.mark.parametrize(
    ("several", "kept"),
    [
        (["retain(P5M)", "retain(P2Y)", "retain(P0D)"], "retain(P0D)"),
        (["expiry(P12M)", "expiry(P5M)"], "expiry(P5M)"),
        (["log(standard)", "log(full)"], "log(full)"),
        (["human_review(1)", "human_review(2)"], "human_review(2)"),
        (["no_onward(sanction)", "no_onward(controle_conjoint)"], "no_onward(controle_conjoint, sanction)"),
        (["no_onward(sanction)", "no_onward(all)"], "no_onward(all)"),
        (["inform(pie, current, sender, after)", "inform(pie, current, sender, before)"], "inform(pie, current, sender, before)"),  # noqa: E501
        (["second_person(PT24H)", "second_person(P2D)"], "second_person(PT24H)"),
    ],
)  # fmt: skip
def test_the_most_protective_obligation_wins(several: list[str], kept: str) -> None:
    for order in (several, several[::-1]):
        merged = merge([([parse_obligation(text)], frozenset()) for text in order])
        assert [text for text in merged if text.split("(")[0] == kept.split("(")[0]] == [kept]


def test_french_purposes_and_categories_match_the_code(policy: Policy) -> None:
    from schemas.champ import CATEGORIES

    rows: list[dict[str, Any]] = tomllib.loads((FOLDER / "categories.toml").read_text())["categorie"]
    assert {row["modele"] for row in rows} == set(CATEGORIES)
    assert {row["code"] for row in rows} <= set(policy.table.categories) | {"jamais", "libre"}


def test_a_text_not_read_at_source_marks_each_decision_it_makes(policy: Policy, ask: Ask) -> None:
    """Rule, regime or pair: the mark is in the decision, in its record, and in what a replay says."""
    minor = ask("caf_msa", "departement", "RSA", "instruction_rsa", "C1", age_status="minor")
    told = policy.decide(minor)
    assert (told.reason, told.to_verify) == ("manual-review", ("D18",))
    unsaid = ask("france_travail", "ccas", "CONSENT_6_1_a", "aide_facultative_ccas", "C1", consent_state="unknown")
    assert "CONSENT_6_1_a" in policy.decide(unsaid).to_verify
    record = told.record(minor, "2026-11-22T10:00:00Z")
    assert json.loads(record)["to_verify"] == ["D18"]
    assert replay(record, policy).same
    before = json.loads(record)
    del before["to_verify"]  # as a record of before the mark
    older = json.dumps(before, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    assert replay(older, policy).same
    plain = policy.decide(ask("caf_msa", "departement", "RSA", "instruction_rsa", "C1"))
    assert (plain.permits, plain.to_verify) == (True, ())


def test_a_rule_read_about_somebody_else_does_not_say_you(policy: Policy) -> None:
    """The pages of a data protection officer, who is not the person that `text_fr` speaks to."""
    rules = [rule for rule in policy.table.rules if rule.effect != "permit"]
    said = {rule.id: law_words.rule_text(rule) for rule in (*rules, *policy.table.onward)}
    assert [id for id, text in said.items() if re.search(r"\b(vous|vos|votre)\b", text, re.IGNORECASE)] == []
    assert set(words.strings()["regle"]) <= said.keys()


def test_a_rule_says_when_it_applies_in_french(policy: Policy) -> None:
    """Whoever signs the table reads no code of ours."""
    law, code = policy.table, re.compile(r"[a-z]_[a-z]|\b(self|other|minor|adult|required|none|expired)\b")
    said = [one for rule in law.rules for when in (rule.when, rule.unless) for one in law_words.conditions(law, when)]
    assert len(said) > 50
    assert [one for one in said if code.search(one)] == []
