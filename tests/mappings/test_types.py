"""Each field type: what it reads, what it writes back, what it refuses to guess."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.grammar import Row
from mappings.types import TYPES, Bad, Codec, codec


def made(name: str, **options: Any) -> Codec:
    return codec(Row(type=name, **options), options.get("zone", "Europe/Paris"))


READ = [
    ("text", {}, " a  b ", "a b"),
    ("text", {}, "   ", None),
    ("date", {}, "2026-02-28", "2026-02-28"),
    ("date", {}, " 2026-02-28 ", "2026-02-28"),
    ("date", {}, "1900-01-01", None),
    ("date", {}, "9999-12-31", None),
    ("date_fr", {}, "28/02/2026", "2026-02-28"),
    ("partial_date", {}, "1985", "1985"),
    ("partial_date", {}, "1985-00-00", "1985"),
    ("partial_date", {}, "0000-00-00", None),
    ("partial_date", {}, "06/1985", "1985-06"),
    ("year", {}, "2024", "2024"),
    ("year_month", {}, "2024-11", "2024-11"),
    ("instant", {}, "2026-03-01T10:00:00.000+02:00", "2026-03-01T08:00:00Z"),
    ("instant", {}, "2026-03-01T10:00:00", "2026-03-01T09:00:00Z"),
    ("instant", {"zone": "UTC"}, "2026-03-01T10:00:00", "2026-03-01T10:00:00Z"),
    ("instant_local", {}, "2026-07-01 10:00:00", "2026-07-01T08:00:00Z"),
    ("day_of_instant", {}, "2026-11-30T23:30:00Z", "2026-12-01"),
    ("day_of_instant", {"zone": "UTC"}, "2026-11-30T23:30:00", "2026-12-01"),
    ("day_of_instant", {"zone": "UTC"}, "2026-11-30", "2026-11-30"),
    ("boolean_01", {}, "1", True),
    ("boolean_01", {}, "0", False),
    ("tri_state", {}, "", None),
    ("boolean_on", {}, "O", True),
    ("boolean_on", {}, "N", False),
    ("boolean_oui_non", {}, "Non", False),
    ("boolean", {}, "true", True),
    ("integer", {}, "007", 7),
    ("integer", {"sentinel": "999999"}, "999999", None),
    ("decimal", {}, "0001675.00", "1675"),
    ("decimal", {}, "1 250,75", "1250.75"),
    ("decimal", {}, "1\u202f000\u00a0250", "1000250"),
    ("decimal", {}, ",5", "0.5"),
    ("decimal", {"places": 2}, "0001675.5", "1675.50"),
    ("decimal", {"sentinel": "999999"}, "0999999.00", None),
    ("nir", {}, "1 80 01 99 999 999 40", "1800199999999"),
    ("nir", {}, "180012A999999", "180012A999999"),
    ("nir", {}, "285062B99999972", "285062B999999"),
    ("matricule_caf", {}, "205599000000000", "2055990"),
    ("matricule_caf", {}, "000000002055990", "2055990"),
    ("numero_demande", {}, "0000123040", "00000123040"),
    ("postcode", {}, "1000", "01000"),
    ("commune", {}, "2a004", "2A004"),
    ("birth_commune", {}, "2a004", "2A004"),
    ("birth_commune", {}, "99352", None),
    ("birth_country", {}, "99352", "99352"),
    ("birth_country", {}, "40192", None),
    ("phone", {}, "06.12.34.56.78", "+33612345678"),
    ("phones", {}, "0612345678 / 05 58 00 00 00", ["+33612345678", "+33558000000"]),
    ("email", {}, " Ana@Exemple.FR ", "ana@exemple.fr"),
    ("email", {}, "x@deleted.rdv-solidarites.fr", None),
    ("words", {}, "Ana, Lou", ["Ana", "Lou"]),
    ("idassedic", {}, "1234567a", "1234567A"),
    ("rome_last", {}, "Aide à domicile (K1304) ", "K1304"),
    ("rome_last", {}, "Aide à domicile", None),
    ("rome_last", {}, "Aide (K1304) à domicile", None),
    ("job_title", {}, "Aide à domicile (K1304) ", "Aide à domicile"),
    ("job_title", {}, "Aide (à domicile)", "Aide (à domicile)"),
    ("job_title", {}, "(K1304)", None),
]


@pytest.mark.parametrize(("name", "options", "text", "value"), READ)
def test_a_text_is_read(name, options, text, value):
    assert made(name, **options).read(text) == value


BAD = [
    ("date", "2026-02-30", "bad-date"),
    ("date", "20260228", "bad-date"),
    ("date", "2026-W01-1", "bad-date"),
    ("date_fr", "31/02/2026", "bad-date"),
    ("date_fr", "02/2026", "bad-date"),
    ("partial_date", "1985-13", "bad-date"),
    ("year", "24", "bad-year"),
    ("year_month", "2024-13", "bad-month"),
    ("instant", "hier", "bad-instant"),
    ("instant", "0001-01-01T00:00:00", "bad-instant"),
    ("instant_local", "0001-01-01 00:00:00", "bad-instant"),
    ("day_of_instant", "0001-01-01T00:00:00+02:00", "bad-instant"),
    ("day_of_instant", "9999-12-31T23:59:59Z", "bad-instant"),
    ("boolean_01", "2", "bad-boolean"),
    ("boolean_on", "oui", "bad-boolean"),
    ("integer", "1e3", "bad-integer"),
    ("integer", "-3", "negative-count"),
    ("integer", "--3", "bad-integer"),
    ("integer", "9" * 5000, "bad-integer"),
    ("decimal", "NaN", "bad-decimal"),
    ("decimal", "1e99999999", "bad-decimal"),
    ("decimal", "1e999999", "bad-decimal"),
    ("decimal", "1.250,75", "bad-decimal"),
    ("decimal", "12 50", "bad-decimal"),
    ("decimal", ",", "bad-decimal"),
    ("decimal", "9" * 29, "bad-decimal"),
    ("nir", "180019999999941", "bad-nir"),
    ("nir", "18001A2999999", "bad-nir"),
    ("matricule_msa", "285069999999919", "matricule-is-nir"),
    ("matricule_caf", "ABC", "bad-matricule"),
    ("matricule_caf", "12345678", "bad-matricule"),
    ("matricule_caf", "285069999999919", "matricule-is-nir"),
    ("numero_demande", "123456789012", "bad-numero-demande"),
    ("postcode", "123", "bad-postcode"),
    ("phone", "12", "bad-phone"),
    ("phones", "0612345678 / demander Paul", "bad-phone"),
    ("email", "ana@", "bad-email"),
    ("siret", "12345678901234", "bad-siret"),
    ("ft_numero", "123", "bad-ft-numero"),
    ("identifier", "a[1]", "bad-identifier"),
]


@pytest.mark.parametrize(("name", "text", "code"), BAD)
def test_what_cannot_be_understood_is_named_and_never_shown(name, text, code):
    with pytest.raises(Bad) as error:
        made(name).read(text)
    assert error.value.code == code
    assert text not in str(error.value) + error.value.detail


@pytest.mark.parametrize(
    ("name", "options", "value", "text"),
    [
        ("phone", {"width": 10}, "+33612345678", "0612345678"),
        ("phone", {"width": 10}, "+262692123456", "0692123456"),
        ("phone", {"width": 10}, "+508411234", "0508411234"),
        ("phone", {"width": 10}, "+441632960961", "+441632960961"),
        ("decimal", {"width": 10, "places": 2}, "-5", "-000005.00"),
    ],
)
def test_a_value_is_written_in_the_width_of_the_partner(name, options, value, text):
    written = made(name, **options)
    assert written.write(value) == text


def test_a_decimal_that_says_more_than_its_places_is_not_rounded():
    with pytest.raises(Bad, match="bad-decimal"):
        made("decimal", places=2).read("12.345")


SEVERAL = [
    ("date_precision", ("1985-06-01", "J"), "1985-06"),
    ("date_precision", ("1985-01-01", "O"), "1985"),
    ("date_precision", ("1985-06-14", "N"), "1985-06-14"),
    ("date_precision", ("1985-06-14", None), "1985-06-14"),
    ("date_time", ("2026-12-01", "10:30:00"), "2026-12-01T09:30:00Z"),
    ("list", ("ANA", None, " LOU "), ["ANA", "LOU"]),
    ("joined", ("CAF", "331"), "CAF 331"),
    ("postal_lines", ("", "BAT A", "12", "RUE", "DES LILAS", ""), ["BAT A", "12 RUE DES LILAS"]),
    ("matricule", ("205599000000000", "CAF"), "2055990"),
    ("caisse", ("401 ", "CAF"), "401"),
    ("caisse", ("40 ", "MSA"), "40"),
    ("autre_caisse", ("641", "CAF"), "CAF 641"),
    ("autre_caisse", (None, "MSA"), "MSA"),
    ("matricule", ("000123", "MSA"), "000123"),
]


@pytest.mark.parametrize(("name", "texts", "value"), SEVERAL)
def test_several_elements_make_one_value(name, texts, value):
    assert made(name, partner=tuple("abcdef"[: len(texts)])).read(*texts) == value


def test_an_unknown_precision_is_not_guessed():
    with pytest.raises(Bad) as error:
        made("date_precision").read("1985-06-14", "Z")
    assert error.value.code == "unknown-code"


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_type_says_what_it_is_to_the_dpo(name):
    assert TYPES[name].label


dates = st.dates().map(str).filter(lambda day: day not in ("0001-01-01", "1900-01-01", "9999-12-31"))
instants = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0).isoformat() + "Z"
)
ROUND = {
    "date": dates,
    "date_fr": dates,
    "partial_date": dates
    | dates.map(lambda day: day[:7])
    | dates.map(lambda day: day[:4]).filter(lambda y: y > "0001"),
    "instant": instants,
    "boolean": st.booleans(),
    "boolean_01": st.booleans(),
    "tri_state": st.booleans(),
    "boolean_on": st.booleans(),
    "boolean_oui_non": st.booleans(),
    "integer": st.integers(min_value=0, max_value=10**9),
    "text": st.from_regex(r"[A-Z]{1,9}( [A-Z]{1,9})?", fullmatch=True),
    "nir": st.sampled_from(["1800199999999", "2850699999999", "180012A999999", "285062B999999", "1271299999999"]),
    "words": st.lists(st.from_regex(r"[A-Z]{1,9}", fullmatch=True), min_size=1, max_size=4),
}


@pytest.mark.parametrize("name", sorted(ROUND))
@given(data=st.data())
def test_what_was_written_is_read_back(name, data):
    value = data.draw(ROUND[name])
    one = made(name)
    assert one.read(one.write(value)) == value


@given(dates, st.sampled_from([4, 7, 10]))
def test_a_partial_date_survives_its_two_elements(day, precision):
    one = made("date_precision")
    value = day[:precision]
    if value + "-01-01"[precision - 10 :] not in ("0001-01-01", "1900-01-01") or precision == 10:
        assert one.read(*one.write(value)) == value


@given(st.text(max_size=40))
def test_no_type_of_one_text_ever_fails_but_by_its_own_word(text):
    for name, kind in TYPES.items():
        if kind.inputs == "one" and name not in ("code", "code_list"):
            with contextlib.suppress(Bad):
                made(name).read(text)
