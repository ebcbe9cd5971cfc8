"""The exchanges people will look at first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.policy import Policy, Question

Ask = Callable[..., Question]


def test_caf_tells_the_departement_of_a_right(policy: Policy, ask: Ask) -> None:
    for purpose in ("instruction_rsa", "liquidation_controle_rsa"):
        decision = policy.decide(ask("caf_msa", "departement", "RSA", purpose, "C1 C2 C3 C4 C5 C6"))
        assert decision.permits
        assert decision.sent == {"C1", "C2", "C3", "C4", "C5", "C6"}
        assert decision.articles[:2] == ("CASF L262-40", "CASF R262-103")
        assert "retain(P5M)" in decision.obligations
        assert decision.traces == "P1Y"


def test_departement_tells_caf_of_a_suspension_after_two_validations(policy: Policy, ask: Ask) -> None:
    question = ask("departement", "caf_msa", "RSA", "liquidation_controle_rsa", "C1 C3 C7 C9 C22")
    decision = policy.decide(question)
    assert decision.sent == {"C1", "C3", "C7", "C22"}
    assert decision.redacted == {"C9": "D05"}
    once = policy.decide(
        ask("departement", "caf_msa", "RSA", "liquidation_controle_rsa", "C1 C22", human_validations=1)
    )
    assert once.redacted == {"C22": "D22"}
    assert "D22" in once.proposed


def test_france_travail_never_tells_a_ccas(policy: Policy, ask: Ask) -> None:
    decision = policy.decide(ask("france_travail", "ccas", "SIFT", "accompagnement", "C1 C2 C7"))
    assert not decision.permits
    assert decision.reason == "recipient-not-listed"
    assert decision.articles[0] == "CT R5312-42-1 II"
    assert decision.http == 403


def test_a_delegated_ccas_hears_from_france_travail_only_as_referent(
    with_rules: Callable[..., Policy], ask: Ask
) -> None:
    policy = with_rules("A14")
    asked = ("france_travail", "delegataire", "SIFT", "accompagnement", "C1 C7")
    assert policy.decide(ask(*asked, referent="delegataire")).sent == {"C1", "C7"}
    refused = policy.decide(ask(*asked, referent="departement"))
    assert refused.reason == "no-permit"


def test_orientation_is_sent_without_health_until_the_dpo_signs(policy: Policy, ask: Ask) -> None:
    question = ask(
        "departement", "france_travail", "SIFT", "orientation", "C1 C2 C6 C7 C9 C13", art9_gate="none",
        objection_state="not_available",
    )  # fmt: skip
    decision = policy.decide(question)
    assert decision.sent == {"C1", "C2", "C6", "C7", "C9"}
    assert decision.redacted == {"C13": "D09"}
    assert decision.redaction_articles == {"C13": "RGPD 9"}
    assert "list_removed" in decision.obligations
    assert "Vos données de santé ne sont pas envoyées." in decision.texts_fr
    assert "A19" not in decision.rule_ids


def test_the_level_of_health_is_sent_once_signed(with_rules: Callable[..., Policy], policy: Policy, ask: Ask) -> None:
    question = ask("departement", "france_travail", "SIFT", "orientation", "C1 C13", art9_gate="9.2.b")
    before, after = policy.decide(question), with_rules("A19").decide(question)
    assert before.redacted == {"C13": "D05"}
    assert "A19" in before.proposed
    assert after.sent == {"C1", "C13"}
    assert "mask(C13, coded-only)" in after.obligations
    assert "A19" in after.proposed, "the mark stays with the decision that the rule made"
    closed = ask("departement", "france_travail", "SIFT", "orientation", "C1 C13", art9_gate="none")
    assert with_rules("A19").decide(closed).redacted == {"C13": "D09"}


def test_the_nir_only_serves_to_find_the_person(with_rules: Callable[..., Policy], policy: Policy, ask: Ask) -> None:
    question = ask("departement", "france_travail", "SIFT", "identification", "C1 C3")
    assert policy.decide(question).reason == "no-permit"
    decision = with_rules("A13").decide(question)
    assert decision.sent == {"C1", "C3"}
    assert "mask(C3, match-only)" in decision.obligations
    assert "retain(P0D)" in decision.obligations
    elsewhere = policy.decide(ask("departement", "france_travail", "SIFT", "orientation", "C1 C3"))
    assert (elsewhere.reason, elsewhere.rule_ids) == ("nir-use", ("D06",))


def test_an_expired_convention_stops_everything(policy: Policy, ask: Ask) -> None:
    decision = policy.decide(ask("departement", "france_travail", "SIFT", "orientation", "C1", convention_active=False))
    assert (decision.permits, decision.reason) == (False, "convention-missing")
    assert "notify(administrators)" in decision.obligations


def test_an_objection_stops_the_pie(policy: Policy, ask: Ask) -> None:
    asked = ("departement", "ccas", "PIE", "accompagnement", "C1 C7 C9")
    assert policy.decide(ask(*asked)).permits
    assert policy.decide(ask(*asked, objection_state="rejected")).permits
    for state in ("raised_pending", "upheld"):
        decision = policy.decide(ask(*asked, objection_state=state))
        assert (decision.permits, decision.reason) == (False, "objection")


def test_a_pending_objection_between_professionals_yields_to_a_written_necessity(policy: Policy, ask: Ask) -> None:
    asked = ("departement", "ccas", "L121-6-2", "accompagnement", "C1 C20")
    assert policy.decide(ask(*asked, objection_state="raised_pending")).permits
    assert policy.decide(ask(*asked, objection_state="raised_pending", reason_hash="")).reason == "objection"
    assert policy.decide(ask(*asked, objection_state="upheld")).reason == "objection"


def test_a_sanction_needs_two_validations(policy: Policy, ask: Ask) -> None:
    for count, permitted in ((0, False), (1, False), (2, True), (3, True)):
        question = ask("departement", "france_travail", "SIFT", "sanction", "C22", human_validations=count)
        decision = policy.decide(question)
        assert decision.permits is permitted
    assert "human_review(2)" in decision.obligations
    assert "log(full)" in decision.obligations


def test_no_rule_opens_the_joint_control(policy: Policy, ask: Ask, codes: frozenset[str]) -> None:
    for (sender, recipient, regime), _pair in policy.table.pairs.items():
        question = ask(sender, recipient, regime, "controle_conjoint", " ".join(codes - {"C3"}), consent_state="given")
        assert policy.decide(question).reason == "no-permit"


def test_a_stranger_gets_the_answer_given_for_an_unknown_person(policy: Policy, ask: Ask) -> None:
    decision = policy.decide(ask("departement", "ccas", "PIE", "accompagnement", "C1", link_active=False))
    assert (decision.http, decision.reason) == (404, "no-active-accompaniment")
    assert "same_as_unknown" in decision.obligations


@pytest.mark.parametrize("state", ["unknown", "refused", "withdrawn", "expired", "superseded"])
def test_every_missing_consent_is_told_with_the_same_words(policy: Policy, ask: Ask, state: str) -> None:
    asked = ("france_travail", "ccas", "CONSENT_6_1_a", "aide_facultative_ccas", "C1 C6")
    named = {"consent_categories": frozenset({"C1"})}
    given = policy.decide(ask(*asked, consent_state="given", **named))
    assert given.sent == {"C1"}, "only what the record names"
    refused = policy.decide(ask(*asked, consent_state=state, **named))
    assert refused.texts_fr == ("Ce partage demande votre accord. Sans accord, rien n'est envoyé.",)


def test_a_required_category_taken_out_stops_the_message(policy: Policy, ask: Ask) -> None:
    question = ask(
        "departement", "france_travail", "SIFT", "orientation", "C1 C13", art9_gate="none", required=frozenset({"C13"})
    )
    decision = policy.decide(question)
    assert (decision.permits, decision.reason, decision.rule_ids) == (False, "required-category-removed", ("D09",))


def test_a_convention_narrows_and_never_widens(policy: Policy, ask: Ask) -> None:
    asked = ("departement", "france_travail", "SIFT", "orientation", "C1 C2 C5")
    narrowed = policy.decide(ask(*asked, convention_categories=frozenset({"C1", "C5"})))
    assert narrowed.sent == {"C1"}


def test_an_obligation_the_recipient_cannot_keep_turns_a_permit_into_a_refusal(policy: Policy, ask: Ask) -> None:
    asked = ("departement", "ccas", "PIE", "accompagnement", "C1")
    assert policy.decide(ask(*asked, honours=frozenset({"retain", "no_onward"}))).permits
    refused = policy.decide(ask(*asked, honours=frozenset({"retain"})))
    assert (refused.permits, refused.reason) == (False, "obligation-unsupported")


def test_child_protection_raises_an_alert_and_says_nothing(policy: Policy, ask: Ask) -> None:
    quiet = policy.decide(ask("departement", "ccas", "PIE", "accompagnement", "C1 C18"))
    assert "Ces données ne sortent jamais de l'organisme." in quiet.texts_fr
    assert "alert(security, C19)" not in quiet.obligations
    alarm = policy.decide(ask("departement", "ccas", "PIE", "accompagnement", "C1 C19"))
    assert "Ces données ne sortent jamais de l'organisme." not in alarm.texts_fr
    assert "alert(security, C19)" in alarm.obligations


def test_free_text_needs_necessity_secrecy_and_a_reason(policy: Policy, ask: Ask) -> None:
    asked = ("departement", "ccas", "L121-6-2", "accompagnement", "C1 C21")
    assert policy.decide(ask(*asked)).sent == {"C1", "C21"}
    assert policy.decide(ask(*asked, recipient_secrecy=False)).redacted == {"C21": "D11"}
    assert policy.decide(ask("departement", "ccas", "PIE", "accompagnement", "C1 C21")).redacted == {"C21": "D11"}


def test_a_person_reads_her_own_data(policy: Policy, ask: Ask) -> None:
    facts = {"link_active": False, "convention_active": False, "recipient_secrecy": False, "person_informed": False}
    decision = policy.decide(ask("departement", "personne", "SIFT", "droits_personne", "C1 C5 C11 C18 C20", **facts))
    assert decision.sent == {"C1", "C5", "C11", "C20"}
    assert {"identity_check(level)", "log(full)", "redact(third-parties)"} <= set(decision.obligations)


def test_two_rules_keep_the_most_protective_obligation(with_rules: Callable[..., Policy], ask: Ask) -> None:
    decision = with_rules("A13", "A15").decide(ask("caf_msa", "france_travail", "SIFT", "identification", "C1 C3 C4"))
    assert decision.sent == {"C1", "C3", "C4"}
    assert [text for text in decision.obligations if text.startswith("retain")] == ["retain(P0D)"]


def test_a_missing_notice_is_refused_while_its_rule_waits_for_a_signature(policy: Policy, ask: Ask) -> None:
    decision = policy.decide(ask("departement", "ccas", "PIE", "accompagnement", "C1", person_informed=False))
    assert (decision.reason, decision.proposed) == ("notice-missing", ("D21",))
