"""What `maillon connector new` writes works at once, in each format, and a broken connector is found out."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors import kit
from connectors.kit import scaffold
from connectors.kit.subject import Subject
from connectors.manifest import ManifestError, installed
from connectors.table import to_csv
from mappings import MappingError, engine

Present = Callable[..., Path]


def told(id: str = "essai_kit") -> dict[str, kit.Result]:
    return {result.case: result for result in (case.run() for case in kit.suite(id))}


@pytest.mark.parametrize("format", scaffold.FORMATS)
def test_a_new_connector_keeps_the_whole_contract(present: Present, format: str) -> None:
    present(format=format)
    results = told()
    assert {name: result.detail for name, result in results.items() if result.outcome == "failed"} == {}
    without = {name for name, result in results.items() if result.outcome == "no-object"}
    assert without <= ({"preuve", "tronque"} if format == "csv" else {"preuve"})
    assert kit.held(installed()["essai_kit"]) == "essai"


def renamed(folder: Path, titles: dict[str, str]) -> None:
    """The columns of the scaffold's table under other titles, in its fixtures."""
    for sample in (folder / "fixtures" / "suivi").glob("*.csv"):
        head, _, rows = sample.read_text("utf-8").partition("\n")
        columns = [titles.get(name, name) for name in head.split(";")]
        sample.write_bytes((";".join(columns) + "\n" + rows).encode("cp1252"))


def test_a_table_is_read_under_the_titles_that_an_office_writes(present: Present) -> None:
    folder = present(format="csv")
    renamed(folder, {"nom": "Nom de naissance", "date_naissance": "Né(e) le", "numero": "N° DOSSIER"})
    mapping = folder / "mappings" / "essai_kit" / "suivi.v1.toml"
    text = mapping.read_text("utf-8").replace('"date_naissance", type', '"Né(e) le", type')
    text = text.replace('partner = "nom",', 'partner = "Nom de naissance",').replace('"numero"', '"N° dossier"')
    mapping.write_text(text, "utf-8")
    for example in mapping.parent.glob("examples/suivi/*.json"):
        words = example.read_text("utf-8").replace('"nom"', '"Nom de naissance"').replace('"numero"', '"N° dossier"')
        example.write_text(words.replace('"date_naissance"', '"Né(e) le"'), "utf-8")
    assert {name: result.detail for name, result in told().items() if result.outcome == "failed"} == {}


def test_a_row_that_nothing_tells_from_another_waits_for_a_human(present: Present) -> None:
    present(format="csv")
    document = next(one for one in installed()["essai_kit"].manifest.documents.values() if one.format == "csv")
    _, *words = scaffold.PERSON.values()
    table = to_csv(list(scaffold.PERSON), [["7", *words], ["", *words]])
    numbered, unnumbered = kit.TableReading(document, io.BytesIO(table))
    assert "missing-required" not in [finding.code for finding in numbered.findings]
    assert "missing-required" in [finding.code for finding in unnumbered.findings]
    assert unnumbered.quarantined


def test_the_date_of_a_statement_is_read_as_offices_write_it(present: Present) -> None:
    mapping = present(format="csv") / "mappings" / "essai_kit" / "suivi.v1.toml"
    said = 'partial = true\nasserted_at = { partner = "saisi", type = "date" }'
    mapping.write_text(mapping.read_text("utf-8").replace("partial = true", said), "utf-8")
    table = to_csv([*scaffold.PERSON, "saisi"], [[*scaffold.PERSON.values(), "02/11/2026"]])
    (record,) = kit.TableReading(installed()["essai_kit"].manifest.documents["essai_kit.suivi"], io.BytesIO(table))
    assert (record.asserted_at, record.findings) == (datetime(2026, 11, 2, tzinfo=UTC), [])


def test_a_document_of_which_nothing_is_read_is_told(present: Present) -> None:
    renamed(present(format="csv"), {name: f"colonne {name}" for name in scaffold.PERSON})
    assert any("no fact is read" in fault for fault in told()["lecture"].detail)


def test_an_example_that_fails_says_what_is_written_instead_of_what(present: Present) -> None:
    example = present() / "mappings" / "essai_kit" / "examples" / "fiche" / "une_personne.json"
    example.write_text(example.read_text("utf-8").replace('"SMS"', '"TEL"'), "utf-8")
    assert any("moyen_prefere is 'SMS' instead of 'TEL'" in fault for fault in told()["exemples"].detail)


@pytest.mark.parametrize("format", scaffold.FORMATS)
def test_a_new_connector_keeps_a_number_under_which_the_person_is_found_again(present: Present, format: str) -> None:
    present(format=format)
    subject = Subject(installed()["essai_kit"])
    (record,) = subject.read(next(one for one in subject.samples if one.situation == "une_personne"))
    facts = record.personnes[0].facts
    assert facts["identifiants[ft_numero].valeur"] == scaffold.PERSON["numero_france_travail"]


def test_what_is_sent_bears_the_media_type_of_the_manifest(present: Present) -> None:
    folder = present()
    for name in ("manifest.toml", "sandbox.py"):
        file = next(folder.parent.rglob(name))
        told_before = file.read_text("utf-8")
        assert "application/json" in told_before
        file.write_text(told_before.replace("application/json", "application/vnd.essai.v2+json"), "utf-8")
    assert {name: result.detail for name, result in told().items() if result.outcome == "failed"} == {}


def test_nothing_written_is_unfinished(present: Present) -> None:
    folder = present().parent
    for path in folder.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not any(mark in text for mark in ("TODO", "FIXME", "NotImplemented", "<<", ">>", "XXX")), path.name


def test_nothing_is_written_over(tmp_path: Path) -> None:
    choices = scaffold.Choices("essai_kit", "Essai")
    written = scaffold.write(choices, tmp_path)
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {"connectors", "mappings", "tests"}
    written[0].write_text("kept")
    with pytest.raises(scaffold.Refused, match="already-there"):
        scaffold.write(choices, tmp_path)
    assert written[0].read_text() == "kept"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"id": "Essai"}, "bad-id"),
        ({"id": "../essai"}, "bad-id"),
        ({"role": "police"}, "bad-role"),
        ({"format": "yaml"}, "bad-format"),
        ({"name": 'a"\nb = "c'}, "bad-name"),
    ],
    ids=["capital", "path", "role", "format", "name"],
)
def test_wrong_choices_are_refused(words: dict[str, str], code: str) -> None:
    with pytest.raises(scaffold.Refused) as caught:
        scaffold.Choices(**({"id": "essai", "name": "Essai"} | words))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_a_new_connector_is_not_configured_without_address_nor_key(present: Present) -> None:
    present()
    with pytest.raises(ManifestError, match="api_url: required setting; cle: required setting"):
        installed()["essai_kit"].create({})


BREAKS = {
    "a-refused-key-is-tried-again": (
        "connector.py", "return kit.acknowledged(answer, remote_id=outgoing.reference)",
        'return Acknowledgement("retry", "later", retry_after=60)', "acces_refuse",
    ),
    "silence-is-taken-for-delivery": (
        "connector.py", "return kit.unsent(error)", 'return Acknowledgement("delivered", "hoped")', "delai",
    ),
    "a-delay-is-forgotten": (
        "connector.py", "return kit.acknowledged(answer, remote_id=outgoing.reference)",
        'told = kit.acknowledged(answer)\n        return Acknowledgement(told.outcome, told.code)', "attente_annoncee",
    ),
    "one-page-is-enough": ("connector.py", 'if "page-suivante" not in answer.headers:', "if page:", "pages"),
    "a-path-the-partner-does-not-have": ("connector.py", "/v1/fiches/", "/v2/fiches/", "envoi"),
    "any-document-is-opened": (
        "connector.py", "if document != SUIVI:\n            raise DocumentRefused",
        "if not document:\n            raise DocumentRefused", "document_etranger",
    ),
    "a-message-is-taken-from-anyone": (
        "connector.py", "    async def send",
        "    def announced(self, headers: Any) -> None:\n        pass\n\n"
        "    def webhook(self, headers: Any, body: bytes, now: Any) -> Any:\n        return body\n\n    async def send",
        "preuve",
    ),
    "a-secret-shows": (
        "connector.py", "    async def send",
        "    def __repr__(self) -> str:\n        return self._key\n\n    async def send", "reglages",
    ),
    "more-is-written-than-declared": (
        "connector.py", "return mappings.load(FICHE).write(current, context)",
        "written = mappings.load(FICHE).write(current, context)\n"
        '        written.document["tout"] = {path: fact.value for path, fact in current.items()}\n'
        "        return written", "minimisation",
    ),
    "a-name-in-an-error": (
        "connector.py", 'return kit.RecordsReading(self.manifest.documents[SUIVI], source, "dossiers")',
        "try:\n            text = source.read()\n            import io, json\n            json.loads(text)\n"
        '            return kit.RecordsReading(self.manifest.documents[SUIVI], io.BytesIO(text), "dossiers")\n'
        '        except ValueError:\n            raise DocumentRefused("bad", repr(text)) from None', "discretion",
    ),
    "a-document-that-goes-the-other-way": (
        "manifest.toml", 'direction    = "write"', 'direction    = "read"', "manifeste",
    ),
    "a-key-that-is-no-secret": ("manifest.toml", "secret      = true\n", "", "reglages"),
    "no-purpose": ("manifest.toml", 'purposes     = ["accompagnement"]\n', "", "purpose"),
    "evidence-that-does-not-exist": ("quality.toml", 'evidence = "sandbox.py"', 'evidence = "preuve.py"', "manifeste"),
    "a-code-is-guessed": (
        "mappings/essai_kit/suivi.v1.toml", 'type = "code", codes = "moyen" }', 'type = "text" }', "exemples",
    ),
    "a-stand-in-that-answers-anything": (
        "sandbox.py", "    app = Starlette(\n        routes=[",
        "    async def anything(request: Request) -> Response:\n        return Response(status_code=204)\n\n"
        "    app = Starlette(\n        routes=[\n"
        "            Route('/{rest:path}', anything, methods=['GET', 'POST', 'PUT']),",
        "bac_a_sable_strict",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_connector_is_found_out(present: Present, fault: str) -> None:
    name, old, new, case = BREAKS[fault]
    file = present() / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    result = told()[case]
    assert result.outcome == "failed", result
    assert "ARBELIER" not in str(result.detail)


def test_documents_under_a_name_that_no_document_has_are_told(present: Present) -> None:
    fixtures = present() / "fixtures"
    (fixtures / "suivi").rename(fixtures / "suivis")
    assert "fixtures/suivis: no document has this name; its folder is one of suivi, fiche" in told()["manifeste"].detail


def test_a_line_that_is_no_python_is_told(present: Present) -> None:
    file = present() / "connector.py"
    file.write_text(file.read_text("utf-8") + "def x(:\n", "utf-8")
    assert f"SyntaxError in connector.py:{len(file.read_text('utf-8').splitlines())}" in told()["lecture"].detail


def test_a_failed_case_lowers_the_grade(present: Present) -> None:
    present()
    assert kit.held(installed()["essai_kit"], {"notice"}) is None


def test_a_foreign_package_never_replaces_a_mapping_of_ours(present: Present) -> None:
    folder = present()
    (folder / "mappings" / "ccas").mkdir()
    (folder / "mappings" / "ccas" / "fiche.v1.toml").write_text("")
    engine._index.cache_clear()
    engine.load.cache_clear()
    with pytest.raises(MappingError, match="mapping-taken"):
        engine.load("ccas.fiche")


def test_a_stand_in_that_breaks_says_on_which_of_its_lines(present: Present) -> None:
    folder = present(format="csv")
    (folder / "fixtures" / "suivi" / "une_personne.csv").unlink()
    assert any("FileNotFoundError in sandbox.py:" in fault for fault in told()["demande"].detail)


def test_an_example_with_a_finding_that_it_does_not_announce_says_where(present: Present) -> None:
    example = present(format="csv") / "mappings" / "essai_kit" / "examples" / "suivi" / "une_personne.json"
    example.write_text(example.read_text("utf-8").replace("1985-06-12", "12/06/1985"), "utf-8")
    assert any("unexpected finding bad-date at date_naissance" in fault for fault in told()["exemples"].detail)
