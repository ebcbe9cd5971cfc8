"""Numbers, names and dates as the caisses, the forms and the spreadsheets really write them."""

from __future__ import annotations

import copy
import pickle
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stdnum.fr import nir as stdnum_nir

from schemas.normalisation import (
    Nir,
    caf_matricule,
    clean,
    commune_code,
    email,
    ft_numero,
    full_date,
    identifiant,
    is_erased_email,
    is_instant,
    looks_like_nir,
    msa_numero,
    name_key,
    nir,
    nir_disagreements,
    nir_key,
    numero_demande,
    partial_date,
    phone,
    phones,
    postcode,
    same_name,
)

SYNTHETIC_NIRS = [
    ("1800199999999", "40", "homme, né à l'étranger", False),
    ("2850699999999", "19", "femme, née à l'étranger", False),
    ("2991299999999", "11", "décembre 1999", False),
    ("1000199999999", "80", "année 00", False),
    ("180012A999999", "66", "Corse-du-Sud", False),
    ("285062B999999", "72", "Haute-Corse", False),
    ("1803399999999", "67", "mois inconnu, 33", False),
    ("2054299999999", "53", "mois inconnu, 42", False),
    ("1251299999999", "01", "clé à zéro initial", False),
    ("1271299999999", "97", "plus haute clé", False),
    ("7850699999999", "60", "provisoire, homme", True),
    ("8850699999999", "10", "provisoire, femme", True),
    ("3850699999999", "66", "en cours d'immatriculation, homme", True),
    ("4850699999999", "16", "en cours d'immatriculation, femme", True),
]


@pytest.mark.parametrize(("treize", "cle", "cas", "provisoire"), SYNTHETIC_NIRS, ids=[row[2] for row in SYNTHETIC_NIRS])
def test_un_nir_est_lu_avec_ou_sans_sa_cle(treize: str, cle: str, cas: str, provisoire: bool) -> None:
    without, with_key = nir(treize), nir(treize + cle)
    assert (without.controle, with_key.controle) == ("non_verifiable", "valide")
    for read in (without, with_key):
        assert read.valeur.valeur == treize
        assert read.cle == cle
        assert read.complet.valeur == treize + cle
        assert read.provisoire is provisoire
    assert looks_like_nir(treize + cle)


@pytest.mark.parametrize(
    "wrong",
    [
        "18001999999", "18001A2999999", "180012C999999", "", "0000000000000", "9800199999999", "1,80E+12",
        "1.80019999999940E+14", "18001999999994", "1800199999999400", "١٨٠٠١٩٩٩٩٩٩٩٩", "18001999999ab",
    ],
)  # fmt: skip
def test_ce_qui_n_a_pas_la_forme_d_un_nir_est_invalide(wrong: str) -> None:
    read = nir(wrong)
    assert read.controle == "invalide"
    assert read.valeur == ""
    assert not looks_like_nir(wrong)


def test_une_cle_fausse_garde_les_treize_caracteres_pour_un_humain() -> None:
    read = nir("180019999999941")
    assert read.controle == "invalide"
    assert read.valeur.valeur == "1800199999999"


@pytest.mark.parametrize(
    "written", ["1 80 01 99 999 999 40", "1.80.01.99.999.999-40", "1\u00a080\u202f01 99 999 999 40"]
)
def test_les_espaces_et_separateurs_ne_comptent_pas(written: str) -> None:
    assert nir(written).controle == "valide"


def test_la_corse_en_minuscules_est_lue() -> None:
    assert nir("180012a99999966").controle == "valide"


nirs = st.builds(
    lambda first, middle, place, rest: f"{first}{middle:04d}{place}{rest:06d}",
    st.sampled_from("123478"),
    st.integers(0, 9999),
    st.sampled_from(["01", "75", "2A", "2B", "97", "99"]),
    st.integers(0, 999_999),
)


@given(nirs)
def test_la_cle_complete_toujours_a_un_multiple_de_97(treize: str) -> None:
    key = nir_key(treize)
    number = int(treize.replace("2A", "19").replace("2B", "18") if treize[5:7] in ("2A", "2B") else treize)
    assert (number + int(key)) % 97 == 0
    assert 1 <= int(key) <= 97
    assert stdnum_nir.is_valid(treize + key)


@given(nirs, st.integers(0, 12), st.integers(1, 8))
def test_un_chiffre_change_casse_la_cle(treize: str, position: int, shift: int) -> None:
    if not treize[position].isdigit() or position in (5, 6):
        return
    changed = treize[:position] + str((int(treize[position]) + shift) % 10) + treize[position + 1 :]
    assert nir(changed + nir_key(treize)).controle == "invalide"


@given(st.text(max_size=20))
def test_aucun_texte_ne_fait_tomber_la_lecture(text: str) -> None:
    for read in (nir, msa_numero, caf_matricule, ft_numero, phones, email, postcode, partial_date, name_key, clean):
        read(text)
    for systeme in ("nir", "caf_matricule", "msa_numero", "ft_numero", "ft_idassedic", "si_departement:40"):
        identifiant(systeme, text)


def test_un_nir_ne_se_montre_nulle_part() -> None:
    value = Nir("1800199999999")
    read = nir("180019999999940")
    shown = [
        repr(value), str(value), f"{value}", f"{value:>20}", f"{value:s}", f"{value!r}", repr(read), str(read),
        repr([value]), repr(identifiant("nir", "180019999999940")), repr(copy.deepcopy(read)),
        repr(pickle.loads(pickle.dumps(value))), repr(read.complet),
    ]  # fmt: skip
    assert not [text for text in shown if "1800199" in text or "40" in text]
    assert value.valeur == "1800199999999"


@pytest.mark.parametrize(
    ("sexe", "naissance", "found"),
    [
        ("masculin", "1980-01-15", []),
        ("feminin", "1980-01-15", ["sexe"]),
        (None, "1981-01-15", ["annee"]),
        ("masculin", "1980-02", ["mois"]),
        ("feminin", "1979-12-31", ["sexe", "annee", "mois"]),
        ("masculin", "1980", []),
        (None, None, []),
    ],
)
def test_une_colonne_decalee_se_voit(sexe: str | None, naissance: str | None, found: list[str]) -> None:
    assert nir_disagreements("1800199999999", sexe, naissance) == found


def test_un_mois_inconnu_ne_contredit_rien() -> None:
    assert nir_disagreements("1803399999999", "masculin", "1980-06-01") == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1234567", "1234567"),
        ("123456700000000", "1234567"),
        ("000000001234567", "1234567"),
        ("001234500000000", "0012345"),
        ("000000000012345", "0012345"),
        ("12345600000000", "0123456"),
        ("1234500000000", "0012345"),
        ("12345", "0012345"),
        ("123 4567", "1234567"),
        ("0000000", ""),
        ("000000000000000", ""),
        ("12A4567", ""),
        ("", ""),
    ],
)
def test_matricule_caf(sent: str, kept: str) -> None:
    assert caf_matricule(sent) == kept


@given(st.integers(1_000_000, 9_999_999))
def test_le_matricule_est_le_meme_de_quelque_cote_qu_on_le_complete(number: int) -> None:
    plain = str(number)
    assert caf_matricule(plain) == caf_matricule(plain.ljust(15, "0")) == caf_matricule(plain.rjust(15, "0")) == plain


@given(st.text("0123456789", min_size=1, max_size=15))
def test_normaliser_deux_fois_ne_change_rien(digits: str) -> None:
    for normalise in (caf_matricule, numero_demande, postcode):
        assert normalise(normalise(digits)) == normalise(digits)


@pytest.mark.parametrize(
    ("sent", "systeme", "valeur", "controle"),
    [
        ("180019999999940", "nir", "1800199999999", "valide"),
        ("1800199999999", "nir", "1800199999999", "non_verifiable"),
        ("180019999999900", "nir", "1800199999999", "non_verifiable"),
        ("123456789", "msa_numero", "123456789", "non_verifiable"),
        ("123456700000000", "msa_numero", "123456700000000", "non_verifiable"),
        ("---", "msa_numero", "", "invalide"),
    ],
)
def test_un_numero_msa_qui_est_un_nir_en_prend_les_regles(sent: str, systeme: str, valeur: str, controle: str) -> None:
    read = msa_numero(sent)
    assert (read.systeme, read.valeur, read.controle) == (systeme, valeur, controle)


@pytest.mark.parametrize(
    ("systeme", "sent", "valeur", "controle"),
    [
        ("ft_numero", "12345678901", "12345678901", "non_verifiable"),
        ("ft_numero", "123 456 789 01", "12345678901", "non_verifiable"),
        ("ft_numero", "1234567890", "", "invalide"),
        ("ft_numero", "1234567890A", "", "invalide"),
        ("ft_idassedic", "1253359x", "1253359X", "non_verifiable"),
        ("ft_idassedic", "12533590000", "", "invalide"),
        ("si_departement:40", " 000 123 ", "000 123", "non_verifiable"),
        ("carnet", "", "", "invalide"),
        ("nir", "285062B99999972", "285062B999999", "valide"),
        ("caf_matricule", "123456700000000", "1234567", "non_verifiable"),
        ("caf_matricule", "12345678", "", "invalide"),
    ],
)
def test_chaque_systeme_a_sa_regle(systeme: str, sent: str, valeur: str, controle: str) -> None:
    read = identifiant(systeme, sent)
    assert read.controle == controle
    assert read.valeur == valeur or controle == "invalide"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("01024041052", "01024041052"), ("1024041052", "01024041052"), ("", ""), ("123456789012", ""), ("00", "")],
)
def test_numero_de_demande_sur_onze(sent: str, kept: str) -> None:
    assert numero_demande(sent) == kept


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("Œuvrard", "OEUVRARD"),
        ("D’Hénin-Liétard", "D HENIN LIETARD"),
        ("Lætitia", "LAETITIA"),
        ("Groß", "GROSS"),
        ("Sørensen", "SORENSEN"),
        ("Łódź", "LODZ"),
        ("N'GUESSAN", "N GUESSAN"),
        ("  Jean -  Pierre ", "JEAN PIERRE"),
        ("ÇELİK", "CELIK"),
        ("Yılmaz", "YILMAZ"),
        ("Nguyễn", "NGUYEN"),
        ("DUPONT\u200b", "DUPONT"),
        ("DUPONT\u202e", "DUPONT"),
        ("ST. MARTIN", "ST MARTIN"),
        ("", ""),
    ],
)
def test_cle_de_comparaison_d_un_nom(written: str, key: str) -> None:
    assert name_key(written) == key


@given(st.text(max_size=40))
def test_la_cle_d_un_nom_est_stable(name: str) -> None:
    key = name_key(name)
    assert name_key(key) == key
    assert name_key(name.lower()) == name_key(name.lower().upper())
    assert "  " not in key
    assert key == key.strip()


def test_nfc_et_nfd_sont_le_meme_nom() -> None:
    assert clean("He\u0301le\u0301na") == "Héléna"
    assert same_name("He\u0301le\u0301na", "Héléna")


@pytest.mark.parametrize(("one", "other"), [("DUPONT", "Dupond"), ("MARTIN", "Martinet"), ("", ""), ("-", "")])
def test_des_noms_qui_different_ne_sont_pas_le_meme(one: str, other: str) -> None:
    assert not same_name(one, other)
    assert not same_name(other, one)


@pytest.mark.parametrize(
    ("written", "e164"),
    [
        ("06 12 34 56 78", "+33612345678"),
        ("06.12.34.56.78", "+33612345678"),
        ("06/12/34/56/78", "+33612345678"),
        ("612345678", "+33612345678"),
        ("33612345678", "+33612345678"),
        ("+33 (0)6 12 34 56 78", "+33612345678"),
        ("0033612345678", "+33612345678"),
        ("0262 12 34 56", "+262262123456"),
        ("0692123456", "+262692123456"),
        ("+33692123456", "+262692123456"),
        ("0639123456", "+262639123456"),
        ("0590123456", "+590590123456"),
        ("0690123456", "+590690123456"),
        ("0694123456", "+594694123456"),
        ("0696123456", "+596696123456"),
        ("0508 41 12 34", "+508411234"),
        ("+689 87 12 34 56", "+68987123456"),
        ("+687 75 12 34", "+687751234"),
        ("+262 0692123456", "+262692123456"),
        ("+41 79 123 45 67", "+41791234567"),
        ("0012345", ""),
        ("0000000000", ""),
        ("06123", ""),
        ("[valeur anonymisée]", ""),
        ("6.12E+08", ""),
        ("", ""),
    ],
)
def test_un_telephone_en_format_international(written: str, e164: str) -> None:
    assert phone(written) == e164


@pytest.mark.parametrize(
    ("cell", "numbers", "unread"),
    [
        ("06 12 34 56 78 / 07.12.34.56.78", ("+33612345678", "+33712345678"), ()),
        ("0612345678;0692123456 ou 06/11/22/33/44", ("+33612345678", "+262692123456", "+33611223344"), ()),
        ("06123456780712345678", ("+33612345678", "+33712345678"), ()),
        ("0612345678 et 0612345678", ("+33612345678",), ()),
        ("0612345678\n(travail)", ("+33612345678",), ("(travail)",)),
        ("chez sa mère", (), ("chez sa mère",)),
        ("+33612345678 / +33712345678", ("+33612345678", "+33712345678"), ()),
        ("", (), ()),
    ],
)
def test_plusieurs_numeros_dans_une_cellule(cell: str, numbers: tuple[str, ...], unread: tuple[str, ...]) -> None:
    read = phones(cell)
    assert (read.numeros, read.illisibles) == (numbers, unread)
    assert "612345678" not in repr(read)


@given(st.lists(st.integers(100_000_001, 799_999_999).map(lambda n: f"0{n}"), min_size=1, max_size=4, unique=True))
def test_rien_d_une_cellule_ne_se_perd(numbers: list[str]) -> None:
    known = tuple(dict.fromkeys(filter(None, map(phone, numbers))))
    unread = sum(not phone(number) for number in numbers)
    for separator in (" / ", ";"):
        read = phones(separator.join(numbers))
        assert (read.numeros, len(read.illisibles)) == (known, unread)


def test_une_cellule_de_separateurs_ne_coute_que_sa_longueur() -> None:
    began = time.process_time()
    assert phones("/" * 300_000) == phones("")
    assert time.process_time() - began < 5.0


@given(st.text("0123456789+ ./-()", max_size=24))
def test_un_numero_lu_se_relit(text: str) -> None:
    number = phone(text)
    assert number == "" or (phone(number) == number and number.startswith("+") and 7 <= len(number) - 1 <= 15)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (" Marie.Dupont@Exemple.FR ", "marie.dupont@exemple.fr"),
        ("mailto:a@b.fr", "a@b.fr"),
        ("<a@b.fr>", "a@b.fr"),
        ("a@b.fr; c@d.fr", ""),
        ("a@b", ""),
        ("a b@c.fr", ""),
        ("a..b@c.fr", ""),
        ("a@@c.fr", ""),
        ("a]b@c.fr", ""),
        ("néant", ""),
    ],
)
def test_une_adresse_electronique(written: str, kept: str) -> None:
    assert email(written) == kept


def test_une_adresse_effacee_a_la_source_n_est_pas_un_contact() -> None:
    assert is_erased_email("U42@deleted.rdv-solidarites.fr ")
    assert not is_erased_email("u42@rdv-solidarites.fr")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("1000", "01000"), ("01000", "01000"), ("1000.0", "01000"), ("75 001", "75001"), ("100", ""), ("2A004", "")],
)
def test_code_postal_sur_cinq_chiffres(sent: str, kept: str) -> None:
    assert postcode(sent) == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("2a004", "2A004"), ("1004", "01004"), ("75056", "75056"), ("2C004", ""), ("2A04", ""), ("00000", "")],
)
def test_code_commune(sent: str, kept: str) -> None:
    assert commune_code(sent) == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1985-06-14", "1985-06-14"),
        ("14/06/1985", "1985-06-14"),
        ("4/6/1985", "1985-06-04"),
        ("06/1985", "1985-06"),
        ("1985", "1985"),
        ("1985-06", "1985-06"),
        ("1985-06-14T00:00:00Z", "1985-06-14"),
        ("1985-06-14 10:00:00", "1985-06-14"),
        ("1985-06-13T22:00:00.000Z", "1985-06-14"),
        ("1985-06-14T00:30:00+02:00", "1985-06-14"),
        ("1985-06-14T23:30:00", "1985-06-14"),
        ("1985-06-14T25:00:00Z", "1985-06-14"),
        ("2024-02-29", "2024-02-29"),
        ("2023-02-29", ""),
        ("1985-13-01", ""),
        ("0000-01-01", ""),
        ("1900-01-01", ""),
        ("0001-01-01", ""),
        ("9999-12-31", ""),
        ("31212", ""),
        ("", ""),
    ],
)
def test_une_date_complete_ou_partielle(sent: str, kept: str) -> None:
    assert partial_date(sent) == kept
    assert full_date(sent) == (kept if len(kept) == 10 else "")


def test_une_date_conventionnelle_est_coupee_a_ce_qui_est_su() -> None:
    assert partial_date("1985-01-01", "mois") == "1985-01"
    assert partial_date("1985-01-01", "annee") == "1985"


_instants = st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "Z")
_near = st.builds(
    lambda text, place, piece, cut: text[:place] + piece + text[place + cut :],
    _instants, st.integers(0, 20), st.text("0123456789-:TZW+. ٣", max_size=2), st.integers(0, 2),
)  # fmt: skip


@given(_instants | _near)
@example("2026-W45-4T10:00:00Z")
@example("20261105T100000.100Z")
@example("2026-02-30T10:00:00Z")
@example("2026-11-05T24:00:00Z")
def test_un_instant_deja_ecrit_en_utc_ne_change_pas(text: str) -> None:
    """Ce qui est reconnu sans être converti est ce que la conversion aurait écrit; rien de ce qu'elle refuse."""
    try:
        moment = datetime.fromisoformat(text)
        written = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if moment.tzinfo else ""
    except (ValueError, OverflowError):
        written = ""
    assert is_instant(text) == (written == text)
