"""Phones and e-mails of the applicants: a delimited text full of traps."""

from __future__ import annotations

import io
import re

import pytest

from connectors.caf.connector import Caf
from connectors.caf.generator import write_contacts
from connectors.contract import DocumentRefused
from schemas import paths
from schemas.record import Record

DOCUMENT = "caf.contacts_allocataires"


def texte(n: int = 40, **options: bool | str) -> bytes:
    sortie = io.BytesIO()
    write_contacts(sortie, n, 3, **options)  # type: ignore[arg-type]
    return sortie.getvalue()


def lignes(caf: Caf, octets: bytes) -> list[Record]:
    return list(caf.read(DOCUMENT, io.BytesIO(octets)))


def test_chaque_ligne_est_une_personne_avec_les_coordonnees_du_dossier(caf: Caf) -> None:
    records = lignes(caf, texte())
    assert not any(record.quarantined for record in records)
    assert len({record.key for record in records}) == len(records)
    for record in records:
        (personne,) = record.personnes
        assert paths.check(personne.facts) == []
        assert paths.check(record.foyer) == []
        assert any(path.startswith("personne.telephones[+262639980") for path in personne.facts)


def test_un_couple_partage_son_telephone_sans_etre_confondu(caf: Caf) -> None:
    par_demande: dict[str, list[Record]] = {}
    for record in lignes(caf, texte(60)):
        par_demande.setdefault(record.foyer["droit_rsa.numero_demande"], []).append(record)
    un, autre = next(records for records in par_demande.values() if len(records) == 2)
    telephones = [{p for p in r.personnes[0].facts if "telephones" in p} for r in (un, autre)]
    assert telephones[0] == telephones[1]
    assert un.key != autre.key
    assert "personne.nom_naissance" not in un.personnes[0].facts, "the name is the dossier holder's"


def test_deux_lignes_d_une_personne_sont_dites_et_aucune_n_efface_l_autre(caf: Caf) -> None:
    entete, ligne, *_ = texte(1).split(b"\r\n")
    autre = re.sub(rb"06399801\d\d", b"0639980199", ligne)
    une, repetee = lignes(caf, b"\r\n".join([entete, ligne, autre, b""]))
    assert une.key == repetee.key
    assert (une.findings, [f.code for f in repetee.findings]) == ([], ["repeated-record"])
    assert (une.partial, repetee.partial) == (False, True)


def test_l_accord_pour_ce_moyen_de_contact_est_inconnu(caf: Caf) -> None:
    for record in lignes(caf, texte()):
        accords = {v for p, v in record.personnes[0].facts.items() if p.endswith(".autorisation")}
        assert accords == {"inconnu"}


@pytest.mark.parametrize("separateur", [";", ","])
@pytest.mark.parametrize("fin", [b"\r\n", b"\n"])
def test_le_separateur_et_les_fins_de_ligne_varient(caf: Caf, separateur: str, fin: bytes) -> None:
    octets = texte(separateur=separateur).replace(b"\r\n", fin)
    reference = [(r.key, r.personnes[0].facts) for r in lignes(caf, texte())]
    assert [(r.key, r.personnes[0].facts) for r in lignes(caf, octets)] == reference
    sans_bom = octets.removeprefix(b"\xef\xbb\xbf")
    assert [(r.key, r.personnes[0].facts) for r in lignes(caf, sans_bom)] == reference


def test_les_zeros_mangees_par_un_tableur_reviennent(caf: Caf) -> None:
    intact = [(r.key, r.personnes[0].facts) for r in lignes(caf, texte())]
    assert [(r.key, r.personnes[0].facts) for r in lignes(caf, texte(zeros_perdus=True))] == intact


def test_un_role_se_lit_quelle_que_soit_sa_casse(caf: Caf) -> None:
    records = lignes(caf, texte().replace(b'"DEMANDEUR"', b'"Demandeur"'))
    assert [record.personnes[0].facts["personne.role_foyer"] for record in records] == [
        record.personnes[0].facts["personne.role_foyer"] for record in lignes(caf, texte())
    ]


@pytest.mark.parametrize(
    ("avant", "apres", "code"),
    [
        (b'"DEMANDEUR"', b'"COLOCATAIRE"', "unknown-code"),
        (b'"06399801', b'"ABC', "bad-phone"),
        (b"@exemple.test", b" exemple", "bad-email"),
        (b'"1000001"', b'"MSA-1"', "bad-matricule"),
    ],
)
def test_une_ligne_douteuse_attend_un_humain_avec_son_numero(caf: Caf, avant: bytes, apres: bytes, code: str) -> None:
    octets = texte()
    assert avant in octets
    records = lignes(caf, octets.replace(avant, apres, 1))
    douteuses = [record for record in records if record.quarantined]
    assert len(douteuses) == 1
    trouve = next(f for f in douteuses[0].findings if f.code == code)
    assert trouve.path.startswith("line ")


@pytest.mark.parametrize(
    ("avant", "apres", "code"),
    [
        (b'"NIR";', b"", "wrong-columns"),
        (b'"ROLE PERSONNE"', b'"QUALITE"', "wrong-columns"),
        (b'"NIR"', b'"MATRICULE"', "table-duplicate-header"),
    ],
)
def test_une_forme_inattendue_refuse_le_fichier_et_le_dit(caf: Caf, avant: bytes, apres: bytes, code: str) -> None:
    octets = texte()
    entete, reste = octets.split(b"\r\n", 1)
    with pytest.raises(DocumentRefused) as refused:
        caf.read(DOCUMENT, io.BytesIO(entete.replace(avant, apres) + b"\r\n" + reste))
    assert refused.value.code == code


def test_un_guillemet_jamais_ferme_refuse_avant_la_premiere_ligne(caf: Caf) -> None:
    octets = texte()
    with pytest.raises(DocumentRefused):
        caf.read(DOCUMENT, io.BytesIO(octets[: octets.rindex(b'"')] + b"\r\n" + b"x\r\n" * 100))


def test_le_meme_fichier_donne_la_meme_cle_et_les_memes_empreintes(caf: Caf) -> None:
    un, deux = (caf.read(DOCUMENT, io.BytesIO(texte())) for _ in range(2))
    assert un.envelope.key == deux.envelope.key
    assert [r.digest for r in un] == [r.digest for r in deux]
    assert un.envelope.counted == len(list(un))
