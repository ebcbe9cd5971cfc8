"""Writing ALI-WebRSA: what the body that accompanies the person gives back to the Département.

The mapping writes meanings. Here they become the Département's integers, every object gets a stable number of its own,
and a form that lacks a mandatory field stays out, its gaps named. What the Département said itself never returns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lxml import etree

import mappings
from connectors.departement.referentiel import Referentiel
from connectors.departement.structure import Node, prune, serialize, to_xml
from connectors.departement.structure import structure as tree
from schemas.nomenclatures.labels import bare_words
from schemas.normalisation import PARIS
from schemas.record import Current, Finding, Written

DOCUMENT = "departement.webrsa_ali"
MAPPING = "departement.ali_webrsa"
OWN = "departement"
"""Beginning of the keys of the objects that a Département named, and of the ids of its body."""
_LISTS = ("rendez_vous", "contrats", "demandes_reorientation", "accompagnements", "participations", "orientations")


def number(kind: str, key: str) -> str:
    """A positive integer that always means this object: the partner's id of the contract (`id_ali`).

    48 bits of a digest: no register to keep, and no collision to fear below millions of objects.
    """
    digest = hashlib.sha256(f"{kind}\x1f{key}".encode()).digest()
    return str(int.from_bytes(digest[:6], "big") or 1)


def write(
    current: Current,
    departement: str,
    structure_ali: str,
    referentiel: Referentiel | None,
    complement: Mapping[str, Any] | None = None,
    structure: str = "",
) -> Written:
    """The ALI-WebRSA of one person, from permitted facts.

    `complement` holds what an agent typed for the contract's fields that nobody has said, in the contract's words
    (`{"liste_cers": {"cer": [{"id_ali": "<key>", "id_cmu": "N", …}]}}`); what was said already stands, and a notice
    `said-already` names what was typed beside it. `metadata["id_personne"]` is empty when the
    Département's id of the person is unknown: the document must wait. `structure` is the label of the structure that
    receives when a rendez-vous does not name it.
    """
    told = _not_their_own(current)
    written = mappings.load(MAPPING).write(told, {"departement": departement})
    written.findings = [f for f in written.findings if f.path != "id_personne"]
    written.empty = [place for place in written.empty if place != _INSCRIT]
    ids: dict[str, str] = {}
    dossier = _shaped(written, ids, structure, _known(current, departement))
    node = tree("ali_webrsa").under("dossiers", "dossier")
    if complement:
        _complete(dossier, complement, node, written.findings)
    id_personne = dossier.pop("id_personne", "")
    if referentiel is None:
        written.findings.append(Finding("referentiel-missing", "entete/id_structure_ali"))
        dossier = {}
    else:
        dossier = _localised(dossier, node, _Localiser(referentiel, written.findings))
    dossier["id_personne"] = id_personne or "1"
    kept, lacking = prune(dossier, node)
    for path in lacking:
        written.findings.append(Finding("missing-required", path, "notice"))
        written.empty.append(path)
    kept = kept or {}
    _count(written, kept)
    written.metadata = {"id_personne": id_personne, "blocks": sorted(kept.keys() - {"id_personne"}), "ids": ids}
    kept["id_personne"] = id_personne  # empty when unknown: a file that nobody could take for another person's
    written.document = document(kept, structure_ali, _as_of(told))
    return written


def _count(written: Written, kept: Mapping[str, Any]) -> None:
    """A field of a form that stays out was not filled: it must not count as spared typing."""
    forms = {"formulaires": "formulaire_d1", "nationalite": "formulaire_d1"}
    for path in list(written.filled):
        top = re.split(r"[./\[]", path)[0]
        if forms.get(top, top) not in kept:
            del written.filled[path]
            written.empty.append(path)


def document(dossier: dict[str, Any], structure_ali: str, generated: datetime) -> bytes:
    """A whole ALI-WebRSA file with one dossier."""
    entete = {
        "date_generation": generated.astimezone(PARIS).strftime("%Y-%m-%d %H:%M:%S"),
        "id_structure_ali": structure_ali,
        "fichier_stock": "false",
    }
    return serialize(to_xml({"entete": entete, "dossiers": {"dossier": [dossier]}}, tree("ali_webrsa")))


def addressed(document: bytes, id_personne: str) -> bytes:
    """The same file, about the person whom the Département names so, and so are her studies (`_dsp`)."""
    root = etree.fromstring(document)
    for element in root.iterfind("dossiers/dossier/id_personne"):
        element.text = id_personne
    for element in root.iterfind("dossiers/dossier/liste_dsps/dsp/id_ali"):
        element.text = number("dsp", id_personne)
    return serialize(root)


def _as_of(current: Current) -> datetime:
    """The most recent of the facts: the same facts give the same bytes, whenever they are written."""
    moments = [datetime.fromisoformat(fact.asserted_at) for fact in current.values() if fact.asserted_at]
    moments = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments]
    return max(moments, default=datetime(2000, 1, 1, tzinfo=UTC))


def _not_their_own(current: Current) -> Current:
    return {
        path: fact
        for path, fact in current.items()
        if path.startswith("identifiants[")
        or path.endswith("].identifiants")
        or not (_named_by_them(path) or fact.source.startswith(OWN))
    }


def _named_by_them(path: str) -> bool:
    return any(path.startswith(f"{name}[{OWN}") for name in _LISTS) or f"membres[{OWN}" in path or path == _INSCRIPTION


_INSCRIPTION, _INSCRIT = "inscription_emploi.inscrit", "inscrit_PE"
"""Written for a contract alone."""
_PREPARED = ("contrats[", "demandes_reorientation[")
_MEMBER = re.compile(r"(accompagnements\[[^\]]+\]\.)membres\[[^\]]+\]\.")


def _known(current: Current, departement: str) -> Written:
    """What a contract or a request must answer, whoever said it, the Département too: without it the form stays out."""
    said = {}
    if any(path.startswith(_PREPARED) for path in current):
        asked = {_INSCRIPTION, "parcours_pro.derniere_classe"}
        said = {path: fact for path, fact in current.items() if path in asked or _of_a_referent(path, current)}
    return mappings.load(MAPPING).write(said, {"departement": departement})


def _of_a_referent(path: str, current: Current) -> bool:
    """Is this said of somebody who is a référent today?"""
    if not (found := _MEMBER.match(path)):
        return False
    return f"{found[0]}jusqua" not in current and f"{found[1]}fin" not in current


# --- from what the mapping wrote to the shape of the contract ---------------------------------------------------------


def _shaped(written: Written, ids: dict[str, str], structure: str, known: Written) -> dict[str, Any]:
    """The mapping's forms as the contract's blocks: one référent, one request, one of each questionnaire."""
    shaped, findings = dict(written.document), written.findings
    referent = _referents(shaped) or _referents(known.document)
    _rendez_vous(shaped, ids, structure)
    _dsp(shaped)
    for cer in shaped.get("liste_cers", {}).get("cer", []):
        key, cer["id_ali"] = cer["id_ali"], number("cer", cer["id_ali"])
        cer |= referent
        _answer(cer, f"liste_cers.cer[{key}]", written, known)
    _reorientation(shaped, findings, referent)
    _questionnaires(shaped, findings)
    return shaped


def _referents(shaped: dict[str, Any]) -> dict[str, Any]:
    """Keep the référent designated last; gives back the field by which other forms name her."""
    groups = shaped.pop("liste_referents_parcours", {}).get("accompagnement", [])
    members = [one for group in groups for one in group.get("referent_parcours", []) if one.pop("est_referent", None)]
    if not members:
        return {}
    chosen = max(members, key=lambda one: one.get("date_designation", ""))
    chosen["id_ali"] = number("referent", chosen["id_ali"])
    shaped["liste_referents_parcours"] = {"referent_parcours": chosen}
    return {"id_referent": chosen["id_webrsa"]} if "id_webrsa" in chosen else {}


def _answer(cer: dict[str, Any], at: str, written: Written, known: Written) -> None:
    """The answers of a contract that the dossier holds outside of it."""
    level = known.document.get("liste_dsps", {}).get("dsp", {}).get("niveau_etude", {})
    for name, value, place in (
        (_INSCRIT, known.document.get(_INSCRIT), _INSCRIT),
        ("id_niveau_etude", level.get("id_niveau_etudes"), "liste_dsps.dsp.niveau_etude/id_niveau_etudes"),
    ):
        if value is not None:
            cer[name] = value
            written.filled[f"{at}/{name}"] = known.filled[place]


def _rendez_vous(shaped: dict[str, Any], ids: dict[str, str], structure: str) -> None:
    for one in shaped.get("liste_rendez_vous", {}).get("rendez_vous", []):
        key, one["id_ali"] = one["id_ali"], number("rendez_vous", one["id_ali"])
        ids[one["id_ali"]] = f"rendez_vous[{key}]"
        for reference in one.pop("identifiants", []):
            body, _, id_webrsa = reference.partition(":")
            if body == OWN and id_webrsa.isdigit():
                one["id_webrsa"] = id_webrsa
        if structure:
            one.setdefault("id_structurereferente", {"libelle": structure})
        theme = "premier_rendez_vous" if one.pop("premier", False) else "suivi"
        one["thematiques"] = {"id_thematique_rdv": [theme]}


def _dsp(shaped: dict[str, Any]) -> None:
    level = shaped.get("liste_dsps", {}).get("dsp", {}).get("niveau_etude")
    if not level:
        return
    for flag in ("qualifications_pro", "competences_extrapro"):
        if f"precisions_{flag}" in level:
            level[flag] = "1"
    shaped["liste_dsps"]["dsp"]["id_ali"] = number("dsp", shaped.get("id_personne", ""))


def _reorientation(shaped: dict[str, Any], findings: list[Finding], referent: dict[str, Any]) -> None:
    requests = shaped.pop("liste_changements_orientation", {}).get("changement_orientation", [])
    if not requests:
        return
    chosen = max(requests, key=lambda one: (one.get("id_statut") == "En attente", one.get("date_demande", "")))
    if len(requests) > 1:
        findings.append(Finding("one-at-a-time", "liste_changements_orientation/changement_orientation", "notice"))
    chosen |= {"id_ali": number("reorientation", chosen["id_ali"]), "id_origine": "reorientation"} | referent
    shaped["liste_changements_orientation"] = {"changement_orientation": chosen}


def _questionnaires(shaped: dict[str, Any], findings: list[Finding]) -> None:
    nationality = shaped.pop("nationalite", None)
    forms = shaped.pop("formulaires", [])
    if len(forms) > 1:
        findings.append(Finding("one-at-a-time", "formulaire_d1", "notice"))
    for form in forms[-1:]:
        for name in ("formulaire_d1", "formulaire_d2", "formulaire_b7"):
            if block := form.get(name):
                block["id_ali"] = number(name, form["id_ali"])
                if name == "formulaire_d1" and nationality:
                    block["id_nationalite"] = nationality
                if rome := block.pop("rome", ""):
                    block |= {"id_code_famille": rome[:1], "id_code_domaine": rome[:3], "id_code_metier": rome}
                shaped[name] = block


def _complete(dossier: dict[str, Any], typed: Mapping[str, Any], node: Node, findings: list[Finding]) -> None:
    """Add what an agent typed where nobody said anything; a notice names by its path each value that is not taken.

    Items of a list meet by `id_ali`, theirs or ours; one without it means the only item there is.
    """
    for name, value in typed.items():
        child, held = node.children.get(name), dossier.get(name)
        if child is None:
            findings.append(Finding("unknown-element", f"{node.path}/{name}", "notice"))
        elif isinstance(value, Mapping) and not isinstance(held, str | list):
            _complete(dossier.setdefault(name, {}), value, child, findings)
        elif isinstance(value, list) and isinstance(held, list) and child.type == "bloc":
            for item in value:
                meant = item.get("id_ali")
                same = [one for one in held if meant is None or one.get("id_ali") in (meant, number(name, meant))]
                if len(same) == 1:
                    _complete(same[0], {k: v for k, v in item.items() if k != "id_ali"}, child, findings)
                else:
                    findings.append(Finding("unknown-item", child.path, "notice"))
        elif dossier.setdefault(name, value) != value:
            findings.append(Finding("said-already", child.path, "notice"))


# --- meanings to local integers ---------------------------------------------------------------------------------------


class _Localiser:
    """Meanings to the Département's integers; what has no active counterpart, or several, is named."""

    def __init__(self, referentiel: Referentiel, findings: list[Finding]) -> None:
        self._referentiel = referentiel
        self._findings = findings

    def id(self, node: Node, meaning: Any) -> str | None:
        found = self._object(node.liste, meaning) if isinstance(meaning, dict) else self._concept(node.liste, meaning)
        if found is None:
            self._findings.append(Finding("no-counterpart", node.path, "quarantine", "", f"référentiel, {node.liste}"))
        return found

    def _concept(self, liste: str, concept: Any) -> str | None:
        return self._referentiel.local(liste, str(concept))

    def _object(self, liste: str, meaning: dict[str, str]) -> str | None:
        entries = [e for e in self._referentiel.lists.get(liste, {}).values() if e.actif]
        if liste == "referents":
            wanted = {bare_words(meaning.get("nom", "")), bare_words(meaning.get("prenom", ""))}
            ids = [
                e.identifiant
                for e in entries
                if wanted == {bare_words(e.champs.get("nom", "")), bare_words(e.champs.get("prenom", ""))}
            ]
        else:
            ids = [e.identifiant for e in entries if bare_words(e.libelle) == bare_words(meaning.get("libelle", ""))]
            if not ids and meaning.get("concept"):
                ids = [e.identifiant for e in entries if e.concept == meaning["concept"]]
        return ids[0] if len(ids) == 1 else None


def _localised(value: dict[str, Any], node: Node, localiser: _Localiser) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        child = node.children.get(name)
        if child is None:
            continue
        items = item if isinstance(item, list) else [item]
        if child.type == "bloc":
            made: list[Any] = [_localised(one, child, localiser) for one in items if isinstance(one, dict)]
        elif child.liste:
            made = [local for one in items if (local := localiser.id(child, one)) is not None]
        else:
            made = [str(one) for one in items]
        if made:
            found[name] = made if child.repeats else made[0]
    return found
