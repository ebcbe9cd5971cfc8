"""One household as an `InfosFoyerRSA` of schema VRSB0801: which blocks appear, when, and in which order."""

from __future__ import annotations

from datetime import date, timedelta

from connectors.caf.synthese import nir
from connectors.caf.synthese.ecriture import Noeud, jour, montant, top
from connectors.caf.synthese.foyers import Adresse, Contexte, FoyerRsa, Individu

QUALITES = {"1": "MR", "2": "MME"}


def infos_foyer(foyer: FoyerRsa, contexte: Contexte, *, quotidien: bool = False) -> Noeud:
    """The whole record. `Evenement` is written in daily files only, `Controle` in monthly ones only."""
    msa = foyer.organisme == "msa"
    blocs: list[Noeud] = [_identification(foyer, contexte)]
    blocs += [_personne(personne, foyer, contexte.reference, msa) for personne in foyer.personnes]
    blocs.append(
        (
            "DonneesAdministratives",
            [
                (
                    "SituationFamille",
                    [
                        ("SITFAM", foyer.situation),
                        ("DDSITFAM", jour(foyer.situation_depuis)),
                        ("REGAGRIFAM", "SA" if msa else None),
                    ],
                ),
                *(adresse(une, rang) for rang, une in enumerate(foyer.adresses[:3], 1)),
            ],
        )
    )
    blocs.append(("PrestationRSA", [_situation(foyer), _detail(foyer, contexte.reference)]))
    if quotidien:
        blocs += [
            ("Evenement", [("DTLIQ", jour(le)), ("HEULIQ", f"{6 + n:02d}:15:00.0000"), ("FG", fait)])
            for n, (le, fait) in enumerate(foyer.evenements)
        ]
    elif foyer.controle_clos:
        blocs.append(_controle(foyer.controle_clos))
    return ("InfosFoyerRSA", blocs)


def _identification(foyer: FoyerRsa, contexte: Contexte) -> Noeud:
    cedant, prenant = foyer.cedant, foyer.prenant
    blocs: list[Noeud] = [
        (
            "Organisme",
            [("FONORG", foyer.organisme.upper()), ("NUMORG", foyer.caisse), ("MATRICULE", foyer.matricule)],
        ),
        ("Partenaire", [("TYPEPARTE", "CG "), ("IDEPARTE", contexte.departement)]),
        ("DemandeRSA", [("DTDEMRSA", jour(foyer.date_demande)), ("NUMDEMRSA", foyer.demande)]),
    ]
    if foyer.origine == "RMI":
        numero: list[Noeud] = [
            ("NUMDEPINSRMI", contexte.departement),
            ("TYPEINSRMI", "S"),
            ("NUMCOMINSRMI", "901"),
            ("NUMAGRINSRMI", "01"),
            ("NUMDOSINSRMI", f"{foyer.rang % 100_000:05d}"),
            ("NUMCLI", "001"),
        ]
        avant: Noeud = ("DateDemandeRMI", [("DTDEMRMI", jour(foyer.date_demande - timedelta(days=700)))])
        blocs.append(("DemandeRMI", [avant, ("NumeroInstructionRMI", numero)]))
    if cedant:
        blocs.append(
            (
                "OrganismeCedant",
                [
                    ("FONORGCEDMUT", cedant.reseau),
                    ("NUMORGCEDMUT", cedant.caisse),
                    ("MATRICULEORGCEDMUT", cedant.matricule or None),
                    ("DDARRMUT", jour(cedant.le)),
                ],
            )
        )
    if prenant:
        blocs.append(
            (
                "OrganismePrenant",
                [("FONORGPRENMUT", prenant.reseau), ("NUMORGPRENMUT", prenant.caisse), ("DDDEPAMUT", jour(prenant.le))],
            )
        )
    return ("IdentificationRSA", blocs)


def _numero(personne: Individu, msa: bool) -> str | None:
    """CAF files carry thirteen characters, MSA files fifteen."""
    if not personne.nir:
        return None
    return personne.nir + nir.cle(personne.nir) if msa else personne.nir


def _personne(personne: Individu, foyer: FoyerRsa, reference: date, msa: bool) -> Noeud:
    prenoms = (*personne.autres_prenoms, None, None)
    charge = personne.role in ("ENF", "AUT")
    identification: list[Noeud] = [
        ("QUAL", QUALITES[personne.sexe] if not charge else None),
        ("NOM", personne.nom[:28]),
        ("NOMNAI", personne.nom_naissance[:28]),
        ("PRENOM", personne.prenom[:32]),
        ("PRENOM2", prenoms[0]),
        ("PRENOM3", prenoms[1]),
        ("NOMCOMNAI", personne.commune_naissance[:26]),
        ("DTNAI", jour(personne.naissance)),
        ("RGNAI", str(personne.rang) if personne.rang else None),
        ("TYPEDTNAI", personne.precision),
        ("NIR", _numero(personne, msa)),
        ("TOPVALIEC", top(personne.certifie)),
        ("SEXE", personne.sexe),
    ]
    dossier: list[Noeud] = [
        ("TOPRESPDOS", top(personne.responsable)),
        ("DDRATDOS", jour(personne.depuis)),
        ("DFRATDOS", jour(personne.jusqua)),
        ("NUMDEMRSAPRECE", personne.demande_precedente or None),
    ]
    role_pfa = "RDO" if personne.responsable else personne.role
    blocs: list[Noeud] = [("Identification", identification), ("DossierCAF", dossier)]
    for nature, role in (("PFA", role_pfa), ("RSA", personne.role)):
        blocs.append(
            ("Prestations", [("NATPREST", nature), ("ROLEPERS", role), ("TOPCHAPERS", "1" if charge else "0")])
        )
    if charge:
        blocs += [_rattachement(parent, personne.parente, msa) for parent in foyer.adultes[:2]]
    if personne.idassedic:
        blocs.append(("DossierPoleEmploi", [("IDASSEDIC", personne.idassedic)]))
    if not charge:
        blocs += _situation_adulte(personne, foyer, reference, msa)
    return ("Personne", blocs)


def _rattachement(parent: Individu, parente: str, msa: bool) -> Noeud:
    return (
        "Rattachement",
        [
            ("NOMNAI", parent.nom_naissance[:28]),
            ("PRENOM", parent.prenom[:32]),
            ("DTNAI", jour(parent.naissance)),
            ("NIR", _numero(parent, msa)),
            ("TYPEPAR", parente or "AUT"),
        ],
    )


def _situation_adulte(personne: Individu, foyer: FoyerRsa, reference: date, msa: bool) -> list[Noeud]:
    blocs = [_ressources(personne, reference, msa)]
    if personne.soumis is not None:
        calcul: list[Noeud] = [
            ("TOPPERSDRODEVORSA", top(personne.soumis)),
            ("TOPPERSENTDRODEVORSA", top(personne.entrant)),
            ("MTPERSRESSMENRSA", montant(personne.revenu)),
            ("MTPERSABANEURSA", montant(0) if foyer.rang % 3 else None),
        ]
        blocs.append(("MontantCalculDroitRSAPersonne", calcul))
    for activite in personne.activites:
        blocs.append(
            (
                "Activite",
                [
                    ("REG", activite.regime),
                    ("ACT", activite.code),
                    ("DDACT", jour(activite.debut)),
                    ("DFACT", jour(activite.fin)),
                    ("NATCONTRTRA", activite.contrat),
                ],
            )
        )
    if foyer.rang % 41 == 0:
        creance: list[Noeud] = [
            ("ETATCREALIM", "PE"),
            ("DDCREALIM", jour(foyer.date_demande)),
            ("ORIOBLALIM", "CJT"),
            ("COMMCREALIM", "DÉMARCHE ENGAGÉE"),
        ]
        blocs.append(("PensionAlimentaire", [("CreanceAlimentaire", creance)]))
    if personne.enceinte_depuis:
        debut = personne.enceinte_depuis
        blocs.append(("Grossesse", [("DDGRO", jour(debut)), ("DTDECLGRO", jour(debut + timedelta(days=80)))]))
    if msa and foyer.rang % 4 == 0:
        benefice: list[Noeud] = [("MTBENAGRI", montant(foyer.rang % 9000, 11)), ("REGFISAGRI", "F")]
        blocs.append(("InformationsAgricoles", benefice))
    return blocs


def _mois_avant(reference: date, combien: int) -> date:
    mois = reference.year * 12 + reference.month - 1 - combien
    return date(mois // 12, mois % 12 + 1, 1)


def _ressources(personne: Individu, reference: date, msa: bool) -> Noeud:
    """The declared quarter: the three months that end two months before the reference date."""
    mois = [_mois_avant(reference, n) for n in (4, 3, 2)]
    fin = _mois_avant(reference, 1) - timedelta(days=1)
    generalite: Noeud = (
        "GeneraliteRessourcesTrimestre",
        [("TOPRESSNUL", "0" if personne.revenu else "1"), ("DDRESS", jour(mois[0])), ("DFRESS", jour(fin))],
    )
    if msa:  # the MSA files seen give the quarter, not its months
        return ("Ressources", [generalite])
    natures = ("001", "010", "044") if personne.revenu else ("000",)
    mensuelles: list[Noeud] = []
    for n, debut in enumerate(mois):
        details: list[Noeud] = [
            (
                "DetailRessourcesMensuelles",
                [
                    ("NATRESS", nature),
                    ("MTNATRESSMEN", montant((personne.revenu + 37 * n) // (rang + 1) if personne.revenu else 0)),
                    ("ABANEU", "N" if nature == "001" and personne.revenu % 11 == 0 else None),
                ],
            )
            for rang, nature in enumerate(natures)
        ]
        mensuelles.append(
            (
                "RessourcesMensuelles",
                [("GeneraliteRessourcesMensuelles", [("MOISRESS", jour(debut)), ("NBHEUMENTRA", "000")]), *details],
            )
        )
    return ("Ressources", [generalite, *mensuelles])


def adresse(ou: Adresse, rang: int) -> Noeud:
    """An address block; rank 1 is the current one."""
    tronc: list[Noeud] = [
        ("RGADR", f"{rang:02d}"),
        ("DTEMM", jour(ou.depuis)),
        ("PAYS", ou.pays),
        ("TYPEADR", ou.type),
        ("ETATADR", ou.controle),
    ]
    detail: Noeud
    if ou.pays == "FRA":
        detail = (
            "AdresseDetailleeFrance",
            [
                ("COMPLIDEADR", ""),
                ("COMPLADR", ou.complement),
                ("NUMVOIE", ou.numero),
                ("LIBTYPEVOIE", ou.type_voie),
                ("NOMVOIE", ou.voie),
                ("LIEUDIST", ou.lieu_dit),
                ("NUMCOM", ou.commune),
                ("CODEPOS", ou.code_postal),
                ("NOMCOM", ou.libelle_commune),
            ],
        )
    else:
        detail = ("AdresseHorsFrance", [(f"LIBLIG{n}ADR", ligne) for n, ligne in enumerate(ou.lignes, 2)])
    return ("Adresse", [("TroncCommunAdresse", tronc), detail])


def _situation(foyer: FoyerRsa) -> Noeud:
    blocs: list[Noeud] = [("EtatDossierRSA", [("ETATDOSRSA", foyer.etat)])]
    if foyer.refus:
        blocs.append(("Refus", [("DTREFURSA", jour(foyer.refus[1])), ("MOTIREFURSA", foyer.refus[0])]))
    for motif, depuis, groupe in foyer.suspensions_droit:
        blocs.append(
            ("SuspensionDroit", [("MOTISUSDRORSA", motif), ("DDSUSDRORSA", jour(depuis)), ("NATGROUPFSUS", groupe)])
        )
    for motif, depuis in foyer.suspensions_versement:
        blocs.append(("SuspensionVersement", [("MOTISUSVERSRSA", motif), ("DDSUSVERSRSA", jour(depuis))]))
    if foyer.cloture:
        bloc = "FinDroit" if foyer.etat == "5" else "FinDroitMoisAnterieur"
        blocs.append((bloc, [("MOTICLORSA", foyer.cloture[0]), ("DTCLORSA", jour(foyer.cloture[1]))]))
    return ("SituationDossierRSA", blocs)


def _detail(foyer: FoyerRsa, reference: date) -> Noeud:
    soumis = [adulte.soumis for adulte in foyer.adultes if adulte.soumis is not None]
    tronc: list[Noeud] = [
        ("TOPSANSDOMFIXE", top(foyer.sans_domicile)),
        ("NBENFAUTCHA", f"{foyer.a_charge:02d}"),
        ("ORIDEMRSA", foyer.origine),
        ("DTORIDEMRSA", jour(foyer.date_demande)),
        ("TOPFOYDRODEVORSA", top(any(soumis)) if soumis else None),
    ]
    blocs: list[Noeud] = [("TroncCommunDroitRSA", tronc)]
    if foyer.etat in "234" and foyer.organisme == "caf":
        blocs += _montants(foyer, reference)
    return ("DetailDroitRSA", blocs)


def _montants(foyer: FoyerRsa, reference: date) -> list[Noeud]:
    revenu = sum(adulte.revenu for adulte in foyer.adultes)
    garanti = 650.0 * (1 + 0.5 * (len(foyer.adultes) > 1) + 0.3 * foyer.a_charge)
    inconnu = foyer.rang % 61 == 0
    calcul: list[Noeud] = [
        ("DDELECAL", jour(_mois_avant(reference, 1))),
        ("MTREVMINIGARARSA", montant(garanti)),
        ("MTREVGARARSA", montant(garanti)),
        ("MTPFRSA", montant(141.99 * max(0, foyer.a_charge - 1))),
        ("MTALRSA", montant(76.25)),
        ("MTRESSMENRSA", montant(999_999 if inconnu else revenu)),
        ("MTABANEURSA", montant(0)),
        ("MTTOTDRORSA", montant(max(0.0, garanti - revenu))),
    ]
    isole = len(foyer.adultes) == 1 and foyer.a_charge > 0
    ligne: list[Noeud] = [
        ("NATPF", "RSI" if isole else "RSD"),
        ("SOUSNATPF", "RSIN1" if isole else "RSDN2"),
        ("DDNATDRO", jour(foyer.date_demande)),
        ("MTRSAVERS", montant(max(0.0, garanti - revenu))),
        ("DTDERRSAVERS", jour(_mois_avant(reference, 1))),
    ]
    return [("MontantsCalculDroitRSA", calcul), ("DetailCalculDroitRSA", ligne)]


def _controle(clos: date) -> Noeud:
    return (
        "Controle",
        [
            (
                "ControleAdministratif",
                [
                    (
                        "IdentificationCibleControleAdministratif",
                        [("DTEFFCIBCONTRO", jour(clos - timedelta(days=60))), ("CIBCONTRO", "R01")],
                    ),
                    (
                        "IdentificationControleAdministratif",
                        [("DTDETECCONTRO", jour(clos - timedelta(days=50))), ("DTCLOCONTRO", jour(clos))],
                    ),
                    (
                        "ModaliteControleAdministratif",
                        [
                            ("LIBCIBCONTRO", "COHERENCE DES RESSOURCES DECLAREES"),
                            ("FAMCIBCONTRO", "04"),
                            ("NATCIBCONTRO", "RSA"),
                            ("COMMACONTRO", "CAF"),
                            ("TYPECONTRO", "PI"),
                        ],
                    ),
                    ("ResultatControleAdministratif", [("TYPEIMPACCONTRO", "0")]),
                ],
            )
        ],
    )
