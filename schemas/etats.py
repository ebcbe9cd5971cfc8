"""The life of each entity: which state may follow which, as data, and the rules that tie fields together.

A body that tells a state for the first time may tell any of them: it may have known the person for years. A step that
is not in the table is a finding for a human, never a correction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from schemas.dossier import Dossier
from schemas.normalisation import PARIS
from schemas.parcours import Accompagnement, ContratEngagement, Orientation, Prescription
from schemas.record import Finding

Steps = Mapping[str, frozenset[str]]


def _steps(**following: str) -> Steps:
    return {state: frozenset(after.split()) for state, after in following.items()}


@dataclass(frozen=True, slots=True)
class Machine:
    """The states of one field: `path` is its shape, `steps` the states that may follow each state."""

    path: str
    steps: Steps

    @property
    def states(self) -> frozenset[str]:
        return frozenset(self.steps)

    def final(self) -> frozenset[str]:
        """States that nothing follows."""
        return frozenset(state for state, after in self.steps.items() if not after)


_CANCELLED = "annulee saisie_par_erreur"
_RDV_OUTCOMES = "honore absent excuse_usager annule_service efface_source"

MACHINES: Mapping[str, Machine] = {
    machine.path: machine
    for machine in (
        # France Travail decides from EN_ATTENTE without a proposal of its own; a recomputation goes back to a draft.
        Machine(
            "orientations[].etat",
            _steps(
                brouillon="en_attente",
                en_attente="brouillon proposee decidee",
                proposee="decidee refusee",
                decidee="terminee",
                refusee="",
                terminee="",
            ),
        ),
        Machine("demandes_reorientation[].etat", _steps(en_attente="acceptee refusee", acceptee="", refusee="")),
        Machine(
            "diagnostic.etat",
            _steps(
                brouillon="partage clos",
                partage="valide a_revoir clos",
                valide="a_revoir clos",
                a_revoir="partage valide clos",
                clos="",
            ),
        ),
        Machine(
            "freins[].valeur",
            _steps(
                non_aborde="present absent",
                present="absent cloture",
                absent="present",
                cloture="present",
            ),
        ),
        Machine(
            "objectifs[].statut",
            _steps(
                non_aborde="en_cours realise abandonne",
                en_cours="en_pause realise abandonne",
                en_pause="en_cours realise abandonne",
                realise="en_cours",
                abandonne="en_cours",
            ),
        ),
        Machine(
            "actions[].statut",
            _steps(
                planifiee="en_cours terminee annulee abandonnee",
                en_cours="en_pause terminee annulee abandonnee",
                en_pause="en_cours terminee annulee abandonnee",
                terminee="",
                annulee="",
                abandonnee="",
            ),
        ),
        # France Travail: a new orientation, référent or dispositif asks for a new signature.
        Machine(
            "contrats[].etat",
            _steps(
                a_signer="signe refuse suspendu clos",
                signe="a_signer suspendu clos",
                refuse="signe a_signer suspendu clos",
                suspendu="a_signer signe refuse clos",
                clos="",
            ),
        ),
        Machine(
            "contrats[].decision",
            _steps(en_attente="valide non_valide annule", valide="annule", non_valide="annule", annule=""),
        ),
        # An outcome may be corrected by the service that met the person; an erasure at the source is the end.
        Machine(
            "rendez_vous[].statut",
            _steps(
                prevu=f"a_renseigner {_RDV_OUTCOMES}",
                a_renseigner=f"prevu {_RDV_OUTCOMES}",
                honore="a_renseigner absent excuse_usager annule_service efface_source",
                absent="a_renseigner honore excuse_usager annule_service efface_source",
                excuse_usager="prevu a_renseigner honore absent annule_service efface_source",
                annule_service="prevu a_renseigner honore absent excuse_usager efface_source",
                efface_source="",
            ),
        ),
        Machine(
            "prescriptions[].statut",
            _steps(brouillon="en_file", en_file="remise echec", remise="lue", lue="", echec="en_file"),
        ),
        # DORA sends without a signature.
        Machine(
            "prescriptions[].statut_metier",
            _steps(
                brouillon=f"signee envoyee {_CANCELLED}",
                signee=f"envoyee {_CANCELLED}",
                envoyee=f"acceptee refusee expiree {_CANCELLED}",
                acceptee=f"presente non_presente {_CANCELLED}",
                presente=f"en_cours non_aboutie {_CANCELLED}",
                non_presente=f"presente en_cours non_aboutie {_CANCELLED}",
                en_cours=f"en_pause terminee non_aboutie {_CANCELLED}",
                en_pause=f"en_cours terminee non_aboutie {_CANCELLED}",
                refusee="saisie_par_erreur",
                expiree="saisie_par_erreur",
                terminee="saisie_par_erreur",
                non_aboutie="saisie_par_erreur",
                annulee="saisie_par_erreur",
                saisie_par_erreur="",
            ),
        ),
        Machine(
            "demandes_aide[].statut",
            _steps(
                en_attente_pieces="instruction close_personne classee",
                instruction="en_attente_pieces acceptee refusee ajournee close_personne classee",
                ajournee="instruction acceptee refusee close_personne classee",
                acceptee="",
                refusee="",
                close_personne="",
                classee="",
            ),
        ),
        Machine("participations[].etat", _steps(ouverte="close", close="")),
    )
}


def legal(path: str, before: str | None, after: str) -> bool:
    """Whether `after` may follow `before` in the field of this shape; nothing before, or no change, is always legal.

    Raises `KeyError` for a field without a life cycle.
    """
    machine = MACHINES[path]
    if after not in machine.states:
        return False
    if before == after:
        return True
    return before is None or after in machine.steps.get(before, frozenset())


# --- rules that tie fields together ---------------------------------------------------------------------------------


def incoherences(dossier: Dossier) -> list[Finding]:
    """What a dossier says that cannot all be true. Notices for a human: nothing is refused nor corrected."""
    return [
        Finding(code, path, "notice", detail=why)
        for code, path, why in (
            *_orientations(dossier.orientations),
            *(found for item in dossier.accompagnements.values() for found in _accompagnement(item)),
            *(found for item in dossier.contrats.values() for found in _contrat(item)),
            *(found for item in dossier.prescriptions.values() for found in _prescription(item)),
            *_objectifs(dossier),
            *_deces(dossier),
        )
    ]


Incoherence = tuple[str, str, str]


def _orientations(orientations: Mapping[str, Orientation]) -> Iterator[Incoherence]:
    for item in orientations.values():
        if item.etat == "terminee" and not item.fin:
            yield "missing-end", "orientations[].fin", "a finished orientation has an end"
        if item.rang is not None and item.origine in ("manuelle", "cohorte") and item.rang > 1:
            yield "rank-origin", "orientations[].origine", "beyond the first rank: reorientation or demenagement"
        if item.rang == 1 and item.origine in ("reorientation", "demenagement"):
            yield "rank-origin", "orientations[].origine", "at the first rank: manuelle or cohorte"
    running = sorted((item for item in orientations.values() if item.etat == "decidee" and item.debut), key=_start)
    for earlier, later in pairwise(running):
        if not earlier.fin or earlier.fin >= _start(later):
            yield "overlap", "orientations[].fin", "the earlier one ends the day before the later one starts"


def _start(orientation: Orientation) -> str:
    return orientation.debut or ""


def _accompagnement(item: Accompagnement) -> Iterator[Incoherence]:
    active = [member for member in item.membres.values() if not member.jusqua]
    sides = [member.cote for member in active]
    if item.nature == "global" and not item.fin and {"social", "emploi"} - set(sides):
        yield "missing-side", "accompagnements[].membres[].cote", "global: an active member on each side"
    referents = [member.cote for member in active if member.est_referent]
    if len(referents) != len(set(referents)):
        yield "two-referents", "accompagnements[].membres[].est_referent", "one référent per side at a time"


def _day(moment: str | None) -> str:
    """The day that it was in France; empty when nobody says."""
    return datetime.fromisoformat(moment).astimezone(PARIS).date().isoformat() if moment else ""


def _deces(dossier: Dossier) -> Iterator[Incoherence]:
    died = dossier.personne.date_deces
    if not died:
        return
    followed = any(not item.fin for item in dossier.accompagnements.values())
    followed |= any(item.etat == "decidee" and not item.fin for item in dossier.orientations.values())
    planned = any(item.statut == "prevu" for item in dossier.rendez_vous.values())
    met = any(item.statut == "honore" and _day(item.debut) > died for item in dossier.rendez_vous.values())
    if followed or planned or met or any((item.date or "") > died for item in dossier.entretiens.values()):
        yield "followed-after-death", "personne.date_deces", "end what is still open, or have the date corrected"


def _contrat(item: ContratEngagement) -> Iterator[Incoherence]:
    if (item.decision == "valide") != (item.decision_le is not None) and item.decision in (
        None,
        "en_attente",
        "valide",
    ):
        yield "decision-date", "contrats[].decision_le", "validated if and only if dated"
    if item.etat == "signe" and not item.signe_le:
        yield "missing-date", "contrats[].signe_le", "a signed contract has its date"


def _prescription(item: Prescription) -> Iterator[Incoherence]:
    if item.statut_metier == "refusee" and not item.motif_decision:
        yield "missing-reason", "prescriptions[].motif_decision", "a refusal gives its reason"
    if item.statut_metier == "non_aboutie" and not item.motifs:
        yield "missing-reason", "prescriptions[].motifs", "a failure gives its reason"
    if item.statut_metier == "terminee" and not item.retour:
        yield "missing-feedback", "prescriptions[].retour", "an end gives its feedback"


def _objectifs(dossier: Dossier) -> Iterator[Incoherence]:
    for item in dossier.objectifs.values():
        if item.contrat and not item.accord_personne_le:
            yield "missing-agreement", "objectifs[].accord_personne_le", "an objective of a contract is agreed upon"
