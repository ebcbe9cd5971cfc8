"""Twelve months of the caisses' files: the dossier ends as the households really are, whatever the order of arrival."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from connectors.caf.lecture import Lecture
from gateway import tasks
from gateway.collect import CollectedFile
from gateway.storage.tables.record import membership, task
from tests.dates import passed
from tests.simulation.annee import Annee, Fichier, Passerelle, attendus, ecarts

FOYERS = 250


def comptes(recu: CollectedFile) -> dict[str, Any]:
    assert recu.counts is not None
    return recu.counts


@pytest.fixture(scope="module")
def annee() -> Annee:
    return Annee(FOYERS, seed=7)


@pytest.fixture(scope="module")
def apres(annee: Annee, tmp_path_factory: pytest.TempPathFactory) -> Passerelle:
    """The gateway after the whole year, its doubts on identity answered by a human as they came."""
    passerelle = Passerelle(tmp_path_factory.mktemp("annee"))
    for fichier in annee.fichiers:
        assert passerelle.prendre(fichier).status == "read"
        passerelle.reconnaitre()
    return passerelle


def test_chaque_dossier_finit_comme_le_foyer_est_vraiment(apres: Passerelle, annee: Annee) -> None:
    assert len(annee.fin) > FOYERS
    assert ecarts(apres.dossiers(), attendus(annee)) == []


def test_l_annee_a_connu_tout_ce_qui_arrive(annee: Annee) -> None:
    faits = b"".join(f.octets for f in annee.fichiers if f.flux == "quotidien")
    for fait in ("ADR", "SITFAM", "MUT", "SUS", "RAD", "REA", "ENTDED", "SITENFAUT"):
        assert f"<FG>{fait}</FG>".encode() in faits, fait
    assert any(foyer.prenant and foyer.etat == "5" for foyer in annee.fin)
    assert any(p.demande_precedente for foyer in annee.fin for p in foyer.personnes)


@pytest.mark.parametrize("mois", [0, 6, 11])
def test_rejouer_un_mois_ne_change_rien(apres: Passerelle, annee: Annee, mois: int) -> None:
    avant = apres.dossiers()
    for fichier in (f for f in annee.fichiers if f.mois == mois):
        assert comptes(apres.prendre(fichier))["accepted"] == 0, fichier.nom
    assert apres.dossiers() == avant


def test_les_memes_foyers_dans_un_nouveau_fichier_ne_sont_meme_pas_lus(
    apres: Passerelle, annee: Annee, monkeypatch: pytest.MonkeyPatch
) -> None:
    dernier = annee.fichiers[-2]
    lus: list[int] = []
    lire = Lecture.records
    monkeypatch.setattr(Lecture, "records", lambda self, ces: lus.extend(un.position for un in ces) or lire(self, ces))
    for jour in (b"2027-02-06", b"2027-02-07"):
        lus.clear()
        neuf = Fichier("neuf.xml", "mensuel", dernier.octets.replace(b"2027-02-04</DTCREA", jour + b"</DTCREA"), 12)
        compte = comptes(apres.prendre(neuf))
        assert (compte["unchanged"], compte["accepted"], compte["persons"] > 0) == (compte["records"], 0, True)
    assert lus == []


def test_la_meme_cle_avec_d_autres_octets_est_refusee(apres: Passerelle, annee: Annee) -> None:
    autre = annee.fichiers[2]
    recu = apres.prendre(Fichier("autre.xml", autre.flux, autre.octets + b"\n", autre.mois))
    assert (recu.status, recu.code) == ("refused", "same-key-other-bytes")


def test_une_separation_laisse_chacun_dans_son_foyer(apres: Passerelle) -> None:
    with apres.gateway.engine.connect() as connection:
        partis = connection.execute(select(membership.c.person_id).where(membership.c.named == 0)).scalars().all()
    assert partis
    with apres.gateway.unit_of_work() as work:
        for parti in partis:
            assert len(apres.gateway.dossiers.homes(work, parti)) <= 1


@pytest.mark.parametrize("graine", [1, 2])
def test_des_quotidiens_livres_dans_le_desordre_finissent_au_meme_etat(tmp_path: Path, graine: int) -> None:
    """The first monthly files, then every other file of three months in any order."""
    trimestre, passerelle = Annee(FOYERS, seed=graine, mois=3), Passerelle(tmp_path)
    premiers, suite = trimestre.fichiers[:2], trimestre.fichiers[2:]
    for fichier in [*premiers, *random.Random(graine).sample(suite, len(suite))]:
        assert passerelle.prendre(fichier).status == "read"
        passerelle.reconnaitre()
    dossiers = passerelle.dossiers()
    assert ecarts(dossiers, attendus(trimestre, dossiers)) == []


def test_un_quotidien_plus_ancien_que_le_dernier_mensuel_ne_change_rien(annee: Annee, tmp_path: Path) -> None:
    mensuels = [f for f in annee.fichiers if f.flux == "mensuel" and f.mois in (0, 1)]
    quotidiens = [f for f in annee.fichiers if f.flux == "quotidien" and f.mois == 0]
    passerelle = Passerelle(tmp_path)
    for fichier in mensuels:
        passerelle.prendre(fichier)
    avant = passerelle.dossiers()
    for fichier in quotidiens:
        passerelle.prendre(fichier)
    apres = passerelle.dossiers()
    assert {qui: dit for qui, dit in apres.items() if qui in avant} == avant


@pytest.mark.parametrize("suite", [b"2026", b"2099"], ids=["", "par une caisse dont l'horloge avance"])
def test_un_foyer_ouvert_absent_du_mensuel_est_signale_et_jamais_clos(tmp_path: Path, suite: bytes) -> None:
    petite = Annee(25, seed=11, mois=1)
    passerelle = Passerelle(tmp_path)
    premier = next(f for f in petite.fichiers if f.flux == "mensuel" and b"<FONORG>CAF" in f.octets)
    passerelle.prendre(premier)
    avant = passerelle.dossiers()
    absent, present = sans_le_premier_ouvert(premier.octets), premier.octets
    mars = Fichier("mars.xml", "mensuel", absent.replace(b"2026-02-04", suite + b"-03-04"), 1)
    assert comptes(passerelle.prendre(mars))["absent"] == 1
    with passerelle.gateway.unit_of_work() as work:
        (ouvert,) = tasks.open_tasks(work)
        assert ouvert["kind"] == "absent-from-stock"
    assert passerelle.dossiers() == avant
    passerelle.prendre(Fichier("avril.xml", "mensuel", present.replace(b"2026-02-04", suite + b"-04-04"), 2))
    with passerelle.gateway.engine.connect() as connection:
        assert connection.execute(select(task.c.state)).scalars().all() == ["settled"]


def sans_le_premier_ouvert(octets: bytes) -> bytes:
    """The same file without its first open household, its total corrected."""
    debut = 0
    while True:
        debut = octets.index(b"<InfosFoyerRSA>", debut)
        fin = octets.index(b"</InfosFoyerRSA>", debut) + len(b"</InfosFoyerRSA>")
        if b"<ETATDOSRSA>2<" in octets[debut:fin]:
            break
        debut = fin
    total = octets.count(b"<InfosFoyerRSA>")
    reste = octets[:debut] + octets[fin:]
    return reste.replace(b"TRANSM>%08d<" % total, b"TRANSM>%08d<" % (total - 1))


@pytest.mark.chaos
def test_deux_mille_foyers_pendant_un_an(tmp_path: Path) -> None:
    """The whole of it at the size of a small Département, then each month again, in the files' own order."""
    annee, passerelle = Annee(2_000, seed=3), Passerelle(tmp_path)
    for fichier in annee.fichiers:
        assert passerelle.prendre(fichier).status == "read"
        passerelle.reconnaitre()
    dossiers = passerelle.dossiers()
    assert ecarts(dossiers, attendus(annee)) == []
    for fichier in annee.fichiers:
        assert comptes(passerelle.prendre(fichier))["accepted"] == 0, fichier.nom
    assert passerelle.dossiers() == dossiers


@pytest.mark.chaos
def test_deux_mille_foyers_et_des_quotidiens_dans_le_desordre(tmp_path: Path) -> None:
    """The first monthly files, then every other file of the year in any order, once the year is over: a file dated
    after the day it comes counts as of that day, so that those of months to come would have the order they came in."""
    annee = Annee(2_000, seed=5)
    premiers, suite = annee.fichiers[:2], annee.fichiers[2:]
    with passed("2027-03-01T08:00:00Z"):
        passerelle = Passerelle(tmp_path)
        for fichier in [*premiers, *random.Random(5).sample(suite, len(suite))]:
            assert passerelle.prendre(fichier).status == "read"
            passerelle.reconnaitre()
        dossiers = passerelle.dossiers()
        assert ecarts(dossiers, attendus(annee, dossiers)) == []
