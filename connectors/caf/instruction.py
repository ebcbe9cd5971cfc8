"""Bringing an application (VIRD0201) to one shape before its mapping: what the caisses' tools write in several ways.

- `Personne` and `DonneesAdministratives` may stand under `IdentificationRSA` (documentation) or beside it (files).
- A list that says « none » and something else contradicts itself: it is told and its answers are left out.
- `DetailMobilite` comes once per zone: the zones become one list, joined by commas.
"""

from __future__ import annotations

from lxml import etree

from schemas.record import Finding

_MOVED = ("Personne", "DonneesAdministratives")
AUCUN = {
    "DIFSOC": ("SituationSociale/DetailDifficulteSituationSociale", "0401"),
    "DIFDISP": ("SituationSociale/DetailDifficulteDisponibilite", "0501"),
    "DIFLOG": ("DifficulteLogement/DetailDifficulteLogement", "1001"),
    "NATMOB": ("Mobilite/DetailMobilite", "2504"),
}
"""Repeated list to its block and to its code for « none »: an answer, which excludes the others."""


def straighten(element: etree._Element) -> list[Finding]:
    """Bring this application to one shape, in place; tell what contradicts itself."""
    head = element.find("IdentificationRSA")
    if head is not None:
        for name in _MOVED:
            for block in head.findall(name):
                element.append(block)
    findings = [_attribute(one, element) for one in element.iter() if one.attrib]
    for rank, person in enumerate(element.findall("Personne"), 1):
        answers = person.find("DonneesSocioProfessionnelles")
        if answers is not None:
            findings += _contradictions(answers, f"Personne[{rank}]/DonneesSocioProfessionnelles")
            _join_zones(answers.find("Mobilite"))
    return findings


def _attribute(one: etree._Element, record: etree._Element) -> Finding:
    """No element of these files bears an attribute: its place alone is told."""
    steps = [str(step.tag) for step in (one, *one.iterancestors())]
    above = sum(1 for _ in record.iterancestors())
    return Finding("unknown-attribute", "/".join(reversed(steps[: len(steps) - above - 1])))


def _contradictions(answers: etree._Element, at: str) -> list[Finding]:
    found = []
    for name, (path, none) in AUCUN.items():
        blocks = answers.findall(path)
        codes = [(block.findtext(name) or "").strip() for block in blocks]
        if none in codes and any(code not in (none, "") for code in codes):
            raw = "|".join(codes)
            found.append(
                Finding("contradictory-answers", f"{at}/{path}/{name}", "quarantine", raw, "« none » and more")
            )
            for block in blocks:
                parent = block.getparent()
                if parent is not None:
                    parent.remove(block)
    return found


def _join_zones(mobility: etree._Element | None) -> None:
    blocks = [] if mobility is None else mobility.findall("DetailMobilite")
    zones = [zone for block in blocks for zone in block.findall("NATMOB")]
    if mobility is None or len(zones) < 2:
        return
    zones[0].text = ",".join(text for zone in zones if (text := (zone.text or "").strip()))
    for block in blocks:
        for zone in block.findall("NATMOB"):
            if zone is not zones[0]:
                block.remove(zone)
        if len(block) == 0:
            mobility.remove(block)
