"""Synthetic households with a life of their own, so that a simulation knows the truth behind the files it writes.

`naissance_foyer` invents one household from a seed and a rank (the same pair always gives the same household, so a
file of any size can be streamed); `connectors.caf.synthese.monde` makes time pass. Distributions follow what the
Départements publish: two thirds of single adults, one third with children, one file in ten suspended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random
from typing import Literal

from connectors.caf.synthese import lexique, nir

Organisme = Literal["caf", "msa"]


@dataclass(slots=True)
class Activite:
    regime: str
    code: str
    debut: date
    fin: date | None = None
    contrat: str | None = None


@dataclass(slots=True)
class Individu:
    """One member of a household, as the caisse knows her. `nir` has 13 characters, or none."""

    sexe: Literal["1", "2"]
    nom: str
    nom_naissance: str
    prenom: str
    autres_prenoms: tuple[str, ...]
    naissance: date
    role: Literal["DEM", "CJT", "ENF", "AUT", "RDO"]
    commune_naissance: str
    nir: str = ""
    precision: Literal["N", "J", "O"] = "N"
    rang: int | None = None
    certifie: bool | None = True
    depuis: date = date(2019, 1, 1)
    jusqua: date | None = None
    demande_precedente: str = ""
    idassedic: str = ""
    soumis: bool | None = None
    entrant: bool | None = None
    activites: list[Activite] = field(default_factory=list)
    revenu: int = 0
    parente: str = ""
    enceinte_depuis: date | None = None
    responsable: bool = False


@dataclass(slots=True, frozen=True)
class Adresse:
    pays: Literal["FRA", "HOR"]
    depuis: date
    numero: str = ""
    type_voie: str = ""
    voie: str = ""
    complement: str = ""
    lieu_dit: str = ""
    commune: str = ""
    code_postal: str = ""
    libelle_commune: str = ""
    lignes: tuple[str, ...] = ()
    type: Literal["D", "P", "R"] = "D"
    controle: str = "CO"


@dataclass(slots=True)
class Mutation:
    reseau: str
    caisse: str
    le: date
    matricule: str = ""


@dataclass(slots=True)
class FoyerRsa:
    """One RSA file (dossier): a household, its right and its history. `demande` is NUMDEMRSA, unique in the world."""

    rang: int
    organisme: Organisme
    caisse: str
    matricule: str
    demande: str
    date_demande: date
    personnes: list[Individu]
    situation: str
    situation_depuis: date
    adresses: list[Adresse]
    etat: str = "2"
    refus: tuple[str, date] | None = None
    suspensions_droit: list[tuple[str, date, str | None]] = field(default_factory=list)
    suspensions_versement: list[tuple[str, date]] = field(default_factory=list)
    cloture: tuple[str, date] | None = None
    sans_domicile: bool = False
    origine: str = "DEM"
    cedant: Mutation | None = None
    prenant: Mutation | None = None
    evenements: list[tuple[date, str]] = field(default_factory=list)
    controle_clos: date | None = None
    notifie: bool = False
    """A closed file is sent once after its closing, then no longer."""

    @property
    def adultes(self) -> list[Individu]:
        return [p for p in self.personnes if p.role in ("DEM", "CJT", "RDO")]

    @property
    def a_charge(self) -> int:
        return sum(1 for p in self.personnes if p.role in ("ENF", "AUT") and p.jusqua is None)


CAISSES_DE_CORSE = {"02A": "201", "02B": "202"}


@dataclass(slots=True, frozen=True)
class Contexte:
    """Where and when a household is born: Département on three positions, caisse, reference date."""

    departement: str = "040"
    organisme: Organisme = "caf"
    reference: date = date(2026, 10, 31)

    @property
    def caisse(self) -> str:
        if self.departement[0] != "0":
            return self.departement
        return CAISSES_DE_CORSE.get(self.departement, f"{self.departement[-2:]}1")


COMPOSITIONS = (("seul", 54), ("seule_enfants", 24), ("couple_enfants", 14), ("couple", 7), ("avec_autre", 1))
COMPOSITIONS_MSA = (("seul", 88), ("couple", 8), ("seule_enfants", 4))
ETATS = (("2", 74), ("4", 11), ("3", 4), ("5", 6), ("6", 1), ("0", 3), ("1", 1))
MOTIFS_VERSEMENT = (("06", 55), ("01", 14), ("05", 6), ("70", 3), ("CG", 6), ("CV", 3), ("36", 3), ("35", 2), ("44", 2),
                    ("09", 2), ("97", 1), ("AB", 2), ("CZ", 1))  # fmt: skip
MOTIFS_DROIT = (("DB", 20), ("DC", 12), ("DE", 10), ("DL", 12), ("DM", 8), ("GJ", 18), ("GK", 12), ("GL", 8))
MOTIFS_CLOTURE = (("RFD", 30), ("ECH", 30), ("RAU", 15), ("PCG", 15), ("RGD", 5))
MOTIFS_REFUS = ("DSD", "F02", "F04", "F09", "FDB", "FDD", "PCG", "F97")
ACTIVITES = (("GE", "CHO", None), ("GE", "SAN", None), ("GE", "SAL", "CDD"), ("GE", "SAL", "INT"), ("GE", "ANP", None),
             ("GE", "SAC", None), ("GE", "ETI", "AEN"), ("GE", "SFP", None), ("GE", "MAL", None), ("AG", "TSA", "CDD"),
             ("AG", "SAL", "CDI"), ("GE", "CUI", "CUI"))  # fmt: skip


def tirage(rng: Random, poids: tuple[tuple[str, int], ...]) -> str:
    """One of the weighted codes."""
    reste = rng.random() * sum(p for _, p in poids)
    for code, part in poids:
        reste -= part
        if reste < 0:
            return code
    return poids[-1][0]


def naissance_foyer(graine: int, rang: int, contexte: Contexte) -> FoyerRsa:
    """The household of this seed and rank: always the same one for the same context."""
    rng = Random(graine * 1_000_003 + rang)
    composition = tirage(rng, COMPOSITIONS if contexte.organisme == "caf" else COMPOSITIONS_MSA)
    demande_le = contexte.reference - timedelta(days=int(40 + rng.random() ** 2 * 4200))
    personnes = _membres(rng, rang, composition, contexte, demande_le)
    couple = composition.startswith("couple")
    foyer = FoyerRsa(
        rang=rang,
        organisme=contexte.organisme,
        caisse=contexte.caisse,
        matricule=numero_de_dossier(rng, rang, personnes[0], contexte.organisme),
        demande=f"{(rang * 7 + 1_024_041) % 100_000_000:08d}{contexte.departement}",
        date_demande=demande_le,
        personnes=personnes,
        situation=rng.choice(("MAR", "VIM", "PAC") if couple else ("CEL", "CEL", "CEL", "DIV", "SEF", "ISO", "VEU")),
        situation_depuis=demande_le - timedelta(days=rng.randrange(30, 3000)),
        adresses=[nouvelle_adresse(rng, contexte.departement, demande_le - timedelta(days=rng.randrange(900)))],
        etat=tirage(rng, ETATS),
        sans_domicile=rng.random() < 0.04,
        origine="RMI" if demande_le.year < 2014 else "DEM",
    )
    while len(foyer.adresses) < 3 and rng.random() < 0.22:
        depuis = foyer.adresses[-1].depuis - timedelta(days=rng.randrange(200, 2000))
        foyer.adresses.append(nouvelle_adresse(rng, contexte.departement, depuis))
    poser_etat(rng, foyer, contexte.reference)
    _mouvements(rng, foyer, contexte)
    return foyer


def _membres(rng: Random, rang: int, composition: str, contexte: Contexte, depuis: date) -> list[Individu]:
    nom = rng.choice(lexique.NOMS)
    reference = contexte.reference
    numero = rang * 9
    demandeur = individu(rng, numero, "DEM", nom, age(rng, reference, 25, 63), depuis)
    demandeur.responsable = True
    membres = [demandeur]
    if composition.startswith("couple"):
        nom_conjoint = nom if rng.random() < 0.4 else rng.choice(lexique.NOMS)
        membres.append(individu(rng, numero + 1, "CJT", nom_conjoint, age(rng, reference, 23, 64), depuis))
    if composition.endswith("enfants"):
        combien = 1 + (rng.random() < 0.5) + (rng.random() < 0.25) + (rng.random() < 0.1)
        jumeaux = combien > 1 and rng.random() < 0.06
        for n in range(combien):
            ne_le = membres[-1].naissance if jumeaux and n == 1 else age(rng, reference, 0, 19)
            enfant = individu(rng, numero + 2 + n, "ENF", nom, ne_le, max(depuis, ne_le))
            enfant.rang = n + 1 if jumeaux and n < 2 else None
            enfant.parente = "LEG"
            membres.append(enfant)
    if composition == "avec_autre":
        autre = individu(rng, numero + 7, "AUT", nom, age(rng, reference, 20, 80), depuis)
        autre.parente = rng.choice(("ASC", "FRE", "DES"))
        membres.append(autre)
    for adulte in membres[: 2 if composition.startswith("couple") else 1]:
        _vie_professionnelle(rng, adulte, rang, reference)
    return membres


def age(rng: Random, reference: date, minimum: int, maximum: int) -> date:
    """A birth date that gives an age between the bounds at the reference date."""
    return reference - timedelta(days=rng.randrange(minimum * 366, maximum * 365 + 364))


def individu(
    rng: Random, numero: int, role: Literal["DEM", "CJT", "ENF", "AUT"], nom: str, ne_le: date, depuis: date
) -> Individu:
    """A person of this family name; her NIR follows her sex, birth and rank in the world, when she has one."""
    sexe: Literal["1", "2"] = "2" if rng.random() < (0.55 if role != "CJT" else 0.45) else "1"
    nom_naissance = rng.choice(lexique.NOMS) if sexe == "2" and role != "ENF" and rng.random() < 0.3 else nom
    prenoms = lexique.PRENOMS_F if sexe == "2" else lexique.PRENOMS_M
    tire = rng.random()
    origine = "etranger" if tire < 0.17 else "outre_mer" if tire < 0.2 else "corse" if tire < 0.22 else ""
    personne = Individu(
        sexe=sexe,
        nom=nom,
        nom_naissance=nom_naissance,
        prenom=rng.choice(prenoms),
        autres_prenoms=(rng.choice(prenoms)[:15],) if rng.random() < 0.35 else (),
        naissance=ne_le,
        role=role,
        commune_naissance=rng.choice(lexique.LIEUX_ETRANGERS if origine == "etranger" else lexique.LIEUX_NAISSANCE),
        depuis=depuis,
    )
    if origine == "etranger" and rng.random() < 0.15:
        personne.precision = "J" if rng.random() < 0.5 else "O"
        personne.naissance = ne_le.replace(day=1) if personne.precision == "J" else ne_le.replace(month=1, day=1)
    immatricule(rng, personne, numero, origine)
    return personne


def immatricule(rng: Random, personne: Individu, numero: int, origine: str) -> None:
    """Give the person her NIR, a number awaiting certification, or none (children mostly)."""
    tire = rng.random()
    if tire < (0.35 if personne.role == "ENF" else 0.015):
        personne.certifie = None if tire < 0.005 else False
        return
    premier: str = personne.sexe
    if personne.role != "ENF" and tire > 0.985:
        premier, personne.certifie = ("7" if personne.sexe == "1" else "8"), False
    mois = personne.naissance.month if personne.precision != "O" else 30 + numero % 12
    personne.nir = nir.compose(
        premier, personne.naissance.year, mois, nir.lieu(numero // 999, origine), numero % 999 + 1
    )


def _vie_professionnelle(rng: Random, adulte: Individu, rang: int, reference: date) -> None:
    tire = rng.random()
    adulte.soumis = None if tire < 0.05 else tire < 0.85
    adulte.entrant = True if adulte.soumis and rng.random() < 0.04 else None
    adulte.revenu = 0 if rng.random() < 0.62 else rng.randrange(80, 900)
    if rng.random() < 0.3:
        adulte.idassedic = f"{(rang * 13 + 1_000_003) % 10_000_000:07d}{'ABCDEFGHJKLMNPRSTUVWXYZ'[rang % 23]}"
    debut = reference - timedelta(days=rng.randrange(100, 1500))
    for _ in range(1 + (rng.random() < 0.5)):
        regime, code, contrat = rng.choice(ACTIVITES)
        fin = debut + timedelta(days=rng.randrange(20, 90))
        adulte.activites.append(Activite(regime, code if code != "SAN" else "SAC", debut, fin, contrat))
        debut = fin + timedelta(days=1)
    adulte.activites[-1].fin = None
    if adulte.sexe == "2" and adulte.naissance.year > reference.year - 42 and rng.random() < 0.02:
        adulte.enceinte_depuis = reference - timedelta(days=rng.randrange(90, 200))
    if rng.random() < 0.12:
        adulte.demande_precedente = f"{(rang * 7 + 501) % 100_000_000:08d}0{rng.randrange(1, 95):02d}"


def numero_de_dossier(rng: Random, rang: int, demandeur: Individu, organisme: Organisme) -> str:
    """CAF: seven digits right-padded to fifteen. MSA: often the NIR of the applicant, else up to fifteen digits."""
    if organisme == "caf":
        return f"{(rang * 7 + 1_000_001) % 10_000_000:07d}".ljust(15, "0")
    if demandeur.nir.isdigit() and rng.random() < 0.6:
        return demandeur.nir
    return f"{rang * 11 + 30_000_000_000:015d}"


def nouvelle_adresse(rng: Random, departement: str, depuis: date) -> Adresse:
    """An address of an invented commune of the Département; one in a hundred is abroad."""
    if rng.random() < 0.01:
        ville = rng.choice(lexique.VILLES_ETRANGERES)
        return Adresse("HOR", depuis, lignes=("", f"{rng.randrange(1, 90)} CALLE MAYOR", "", ville, "", "PAYS TIERS"))
    numero, fin, libelle = rng.choice(lexique.COMMUNES)
    court = departement.lstrip("0").rjust(2, "0")
    return Adresse(
        "FRA",
        depuis,
        numero=str(rng.randrange(1, 180)) + ("BIS" if rng.random() < 0.05 else ""),
        type_voie=rng.choice(lexique.TYPES_VOIE),
        voie=rng.choice(lexique.NOMS_VOIE),
        complement=rng.choice(lexique.COMPLEMENTS),
        lieu_dit=rng.choice(lexique.LIEUX_DITS),
        commune=court + (numero if len(court) == 2 else numero[1:]),
        code_postal=(court + fin) if len(court) == 2 else court + fin[:2],
        libelle_commune=libelle,
        type="P" if rng.random() < 0.04 else "D",
        controle="CO" if rng.random() < 0.8 else "NC",
    )


def poser_etat(rng: Random, foyer: FoyerRsa, jour: date) -> None:
    """Give the state its motive blocks: state and motives always go together."""
    foyer.refus = foyer.cloture = None
    foyer.suspensions_droit, foyer.suspensions_versement = [], []
    debut = max(foyer.date_demande, jour.replace(day=1) - timedelta(days=rng.randrange(0, 200))).replace(day=1)
    if foyer.etat == "1":
        foyer.refus = (rng.choice(MOTIFS_REFUS), debut)
    elif foyer.etat == "3":
        for n in range(1 + (rng.random() < 0.2)):
            motif = tirage(rng, MOTIFS_DROIT)
            foyer.suspensions_droit.append((motif, debut + timedelta(days=31 * n), "RSA" if motif[0] == "G" else None))
    elif foyer.etat == "4":
        for n in range(1 + (rng.random() < 0.25)):
            foyer.suspensions_versement.append((tirage(rng, MOTIFS_VERSEMENT), debut + timedelta(days=31 * n)))
    elif foyer.etat in ("5", "6"):
        foyer.cloture = (tirage(rng, MOTIFS_CLOTURE), debut)
    foyer.notifie = False


def _mouvements(rng: Random, foyer: FoyerRsa, contexte: Contexte) -> None:
    """Some households came from another caisse: the old matricule comes with them."""
    if rng.random() < 0.03:
        reseau = "MSA" if rng.random() < 0.15 else "CAF"
        ancien = foyer.personnes[0].nir if reseau == "MSA" and foyer.personnes[0].nir.isdigit() else ""
        ancien = ancien or f"{(foyer.rang * 17 + 2_000_003) % 10_000_000:07d}".ljust(15, "0")
        foyer.cedant = Mutation(reseau, "331", foyer.date_demande + timedelta(days=60), ancien)
    if foyer.etat == "5" and rng.random() < 0.2 and foyer.cloture:
        foyer.cloture = ("MUT", foyer.cloture[1])
        foyer.prenant = Mutation("CAF", "641", foyer.cloture[1])
    if rng.random() < 0.02:
        foyer.controle_clos = contexte.reference - timedelta(days=rng.randrange(1, 28))


def copie(foyer: FoyerRsa) -> FoyerRsa:
    """A copy whose later changes leave the original alone."""
    return replace(
        foyer,
        personnes=[replace(p, activites=list(p.activites)) for p in foyer.personnes],
        adresses=list(foyer.adresses),
        suspensions_droit=list(foyer.suspensions_droit),
        suspensions_versement=list(foyer.suspensions_versement),
        evenements=list(foyer.evenements),
    )
