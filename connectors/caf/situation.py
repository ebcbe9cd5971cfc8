"""The state of a right against the blocks that explain it (VRSB0801, `SituationDossierRSA`).

Each state but « waiting » and « payable » has its block. When several could apply, the specification of the flux says
which one the state must tell: a block whose state comes first, beside another state, contradicts it. Nobody here knows
which of the two is wrong, so neither is told on.
"""

from __future__ import annotations

from lxml import etree

from schemas.record import Finding, Record

PRECEDENCE = {
    "0": "", "1": "Refus", "5": "FinDroit", "3": "SuspensionDroit", "4": "SuspensionVersement", "2": "",
    "6": "FinDroitMoisAnterieur",
}  # fmt: skip
"""ETATDOSRSA to the block that goes with it, in the order of the specification."""
_AT = "PrestationRSA/SituationDossierRSA"
_STATE = f"{_AT}/EtatDossierRSA/ETATDOSRSA"
_TOLD = tuple(
    f"droit_rsa.{name}"
    for name in ("etat", "date_refus", "motif_refus", "suspensions[", "motif_cloture", "date_cloture")
)


def compare(element: etree._Element, record: Record) -> None:
    """Leave out of this household a state and blocks that contradict each other; a finding tells it."""
    situation = element.find(_AT)
    if situation is None or len(situation) < 2:  # a state alone
        return
    state = (element.findtext(_STATE) or "").strip()
    if state not in PRECEDENCE:
        return
    stronger = list(PRECEDENCE.values())[: list(PRECEDENCE).index(state)]
    if any(block.tag in stronger for block in situation):
        record.findings.append(Finding("contradiction", _STATE, "quarantine", state, "a block tells another state"))
        record.foyer = {path: value for path, value in record.foyer.items() if not path.startswith(_TOLD)}
