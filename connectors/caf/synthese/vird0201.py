"""One synthetic application as an `InfoDemandeRSA` of VIRD0201: identity, answers, family, address."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from connectors.caf.synthese import nir
from connectors.caf.synthese.ecriture import Noeud, jour, top
from connectors.caf.synthese.foyers import Contexte, FoyerRsa, Individu
from connectors.caf.synthese.vrsb0801 import QUALITES, adresse

_DIFSOC = ("0401", "0402", "0403", "0404", "0405", "0406", "0407")
_DIFDISP = ("0501", "0502", "0503", "0505", "0507", "0508", "0509", "0510", "0511", "0512", "0514")
_DIFLOG = ("1001", "1002", "1003", "1004", "1006", "1007", "1008")
_NATLOG = ("0901", "0902", "0902", "0904", "0909", "0909", "0910", "0912")


def info_demande(foyer: FoyerRsa, ou: Contexte, *, contradictoire: bool = False, sous_tete: bool = False) -> Noeud:
    """The answers of the adults of this household. `sous_tete` puts persons under the head, as documentation says."""
    tete: list[Noeud] = [
        (
            "Organisme",
            [("FONORG", foyer.organisme.upper()), ("NUMORG", foyer.caisse), ("MATRICULE", foyer.matricule)],
        ),
        ("Partenaire", [("TYPEPARTE", "CG  "), ("IDEPARTE", ou.departement)]),
        ("DemandeRSA", [("DTDEMRSA", jour(foyer.date_demande)), ("NUMDEMRSA", foyer.demande)]),
        (
            "SuiviInstruction",
            [
                ("SUIIRSA", "11"),
                ("NOMINS", "AGENT"),
                ("PRENOMINS", "D ACCUEIL"),
                ("NUMDEPINS", ou.departement),
                ("TYPESERINS", "F"),
                ("NUMCOMINS", "901"),
                ("NUMAGRINS", "01"),
            ],
        ),
    ]
    suite: list[Noeud] = [_personne(p, foyer, contradictoire and n == 0) for n, p in enumerate(foyer.adultes)]
    famille: Noeud = ("SituationFamille", [("SITFAM", foyer.situation), ("DDSITFAM", jour(foyer.situation_depuis))])
    france = next((a for a in foyer.adresses if a.pays == "FRA"), None)
    suite.append(("DonneesAdministratives", [famille, *([adresse(france, 1)] if france else [])]))
    if sous_tete:
        return ("InfoDemandeRSA", [("IdentificationRSA", [*tete, *suite])])
    return ("InfoDemandeRSA", [("IdentificationRSA", tete), *suite])


def _personne(personne: Individu, foyer: FoyerRsa, contradictoire: bool) -> Noeud:
    rng = Random(f"{foyer.demande}{personne.role}")
    numero = personne.nir + nir.cle(personne.nir) if personne.nir else None
    collecte = rng.choice(("EF", "EF", "EF", "EF", "AF", "RE"))
    blocs: list[Noeud] = [
        (
            "Identification",
            [
                ("QUAL", QUALITES[personne.sexe]),
                ("NOM", personne.nom),
                ("NOMNAI", personne.nom_naissance),
                ("PRENOM", personne.prenom),
                ("DTNAI", jour(personne.naissance)),
                ("NIR", numero),
                ("SEXE", personne.sexe),
            ],
        ),
        ("Prestations", [("NATPREST", "RSA"), ("ROLEPERS", personne.role)]),
        (
            "SuiviAppuiOrientation",
            [("SITPERSSOCPRO", collecte), ("DTENRSOCPRO", jour(foyer.date_demande + timedelta(days=12)))],
        ),
    ]
    if collecte == "EF":
        blocs.append(("DonneesSocioProfessionnelles", _reponses(rng, contradictoire)))
    return ("Personne", blocs)


def _liste(rng: Random, codes: tuple[str, ...], contradictoire: bool = False) -> list[str]:
    """Either « none » alone (the first code), or one or two other answers; both together when asked to contradict."""
    autres = sorted(rng.sample(codes[1:], rng.choice((1, 1, 2))))
    if contradictoire:
        return [codes[0], autres[0]]
    return [codes[0]] if rng.random() < 0.3 else autres


def _reponses(rng: Random, contradictoire: bool) -> list[Noeud]:
    social: list[Noeud] = [("CommunSituationSociale", [("SOUTDEMARSOC", rng.choice("ONV"))])]
    social += [
        ("DetailDifficulteSituationSociale", [("DIFSOC", c), ("LIBAUTRDIFSOC", "EN CLAIR" if c == "0407" else None)])
        for c in _liste(rng, _DIFSOC, contradictoire)
    ]
    social += [("DetailDifficulteDisponibilite", [("DIFDISP", c)]) for c in _liste(rng, _DIFDISP)]
    zones: list[Noeud] = [
        ("DetailMobilite", [("NATMOB", c)]) for c in rng.choice((["2501"], ["2501", "2502"], ["2504"]))
    ]
    logement: list[Noeud] = [("CommunDifficulteLogement", [("NATLOG", rng.choice(_NATLOG))])]
    logement += [("DetailDifficulteLogement", [("DIFLOG", c)]) for c in _liste(rng, _DIFLOG)]
    return [
        ("GeneraliteDSPP", [("SITPERSDEMRSA", rng.choice(("0101", "0104", "0106", "0107", "0108")))]),
        ("SituationSociale", social),
        (
            "NiveauEtude",
            [
                ("NIVETU", rng.choice(("1202", "1203", "1204", "1206"))),
                ("NIVDIPMAXOBT", rng.choice(("2602", "2603", "2604", "2605", "2606"))),
                ("ANNOBTNIVDIPMAX", str(rng.randrange(1990, 2022))),
            ],
        ),
        ("DisponibiliteEmploi", [("TOPENGDEMARECHEMPLOI", top(rng.random() < 0.6))]),
        (
            "SituationProfessionnelle",
            [
                ("HISPRO", rng.choice(("1901", "1902", "1903", "1904"))),
                ("LIBDERACT", "VENTE EN BOULANGERIE"),
                ("CESSDERACT", rng.choice(("2701", "2702"))),
                ("INSCDEMEMPLOI", rng.choice(("4301", "4302", "4303"))),
                ("TOPPROJPRO", top(rng.random() < 0.4)),
                ("TOPCREAREPRIENTRE", top(rng.random() < 0.1)),
            ],
        ),
        (
            "Mobilite",
            [
                (
                    "CommunMobilite",
                    [("TOPMOYLOCO", top(rng.random() < 0.6)), ("TOPPERMICONDUB", top(rng.random() < 0.6))],
                ),
                *zones,
            ],
        ),
        ("DifficulteLogement", logement),
    ]
