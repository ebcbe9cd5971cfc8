"""What an operator mistypes: exit 2, one line that names what exists, and nothing is done."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from connectors.caf import generator
from gateway import cli
from gateway.commands import output
from gateway.settings import settings

NOBODY = "01890000-0000-7000-8000-000000000000"


class Typed(NamedTuple):
    status: int
    stdout: str
    said: str


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `flux.xml` and `jwks.json`; one for all, as nothing typed here changes anything."""
    folder = tmp_path_factory.mktemp("desk")
    generator.write_file(folder / "flux.xml", 2, 4, "mensuel", "caf", departement="040")
    (folder / "jwks.json").write_text('{"keys": []}')
    (folder / "empty.txt").write_text(" \n")
    (folder / "list.json").write_text("[]")
    (folder / "basis.json").write_text(f'{{"person_id": "{NOBODY}"}}')
    (folder / "latin.txt").write_bytes(b"publi\xe9e")
    return folder


@pytest.fixture
def maillon(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Typed]]:
    """The command as it is typed at this desk."""
    monkeypatch.setenv("MAILLON_HOME", str(desk / "home"))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    monkeypatch.chdir(desk)
    monkeypatch.setattr(cli.logs, "configure", lambda: None)  # it lasts as long as the process: the other tests too
    settings.cache_clear()

    def typed(*words: str) -> Typed:
        monkeypatch.setattr("sys.argv", ["maillon", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return Typed(int(ended.value.code or 0), told.out, " ".join(told.err.split()))

    yield typed
    settings.cache_clear()


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ("ingest flux.xml --from nobody", "body-unknown", "france_travail"),
        ("ingest flux.xml --from caf --document unknown", "document-unknown", "caf.flux_beneficiaire"),
        ("ingest flux.xml --from france_travail --document france_travail.calcul_orientation", "document-not-sent", ""),
        ("map flux.xml --read unknown", "document-unknown", "caf.flux_beneficiaire"),
        ("map flux.xml --read caf.flux_beneficiaire --write unknown", "document-unknown", "departement.webrsa_ali"),
        ("map flux.xml --read caf.flux_beneficiaire --write caf.instruction", "document-not-received", "webrsa_ali"),
        (f"prefill {NOBODY} --document unknown", "document-unknown", "france_travail.calcul_orientation"),
        (f"prefill {NOBODY} --document fse.participant --for nobody", "body-unknown", "departement"),
        (f"prefill {NOBODY} --document france_travail.calcul_orientation", "person-unknown", "maillon person search"),
        ("explain unknown", "mapping-unknown", "caf.flux_beneficiaire"),
        ("sandbox unknown", "sandbox-unknown", "hubee"),
        ("sandbox hubee --scenario unknown", "scenario-unknown", "corps_coupe"),
        ("partner rotate nobody --jwks jwks.json", "partner-unknown", "none"),
        ("partner suspend nobody", "partner-unknown", "none"),
        ("convention show unknown", "convention-unknown", "none"),
        (f"outbox retry {NOBODY}", "delivery-unknown", "maillon outbox list"),
        ("outbox pause nobody", "body-unknown", "france_travail"),
        ("work --partner nobody", "body-unknown", "france_travail"),
        ("convention serves 99999", "commune-unknown", "none"),
        (f"evidence pack {NOBODY}", "person-unknown", "Search"),
        (f"evidence enter {NOBODY} FSE-1 --body ccas", "person-unknown", "Search"),
        (f"evidence answer {NOBODY} cle jwks.json", "person-unknown", "Search"),
        (f"evidence leave {NOBODY} cle", "person-unknown", "Search"),
        (f"evidence six-months {NOBODY} cle jwks.json", "person-unknown", "Search"),
        ("evidence indicators FSE-0", "operation-unknown", "none"),
        ("evidence incomplete FSE-0", "operation-unknown", "none"),
        ("evidence participants FSE-0 out.csv", "operation-unknown", "none"),
        (f"alerts --person {NOBODY}", "person-unknown", "Search"),
        (f"basis list --person {NOBODY}", "person-unknown", "Search"),
        (f"quarantine list --exchange {NOBODY}", "exchange-unknown", "receipt"),
        ("quarantine list --document unknown", "document-unknown", "caf.flux_beneficiaire"),
        (f"receipt replay {NOBODY}", "receipt-none", "this id"),
        ("worklist poll caf", "worklist-missing", "maillon connector list"),
        ("register --since hier", "bad-instant", "RFC 3339"),
        ("collect --from nobody", "body-unknown", "hubee"),
        ("meter --recipient nobody", "body-unknown", "departement"),
        ("worklist poll nobody", "body-unknown", "france_travail"),
        ("worklist list --body nobody", "body-unknown", "france_travail"),
        (f"basis withdraw {NOBODY}", "basis-unknown", "maillon basis list"),
        (f"person erase {NOBODY}", "person-unknown", ""),
        (f"person erase {NOBODY} --ground lassitude", "erasure-ground", "withdrawn"),
        ("quarantine show unknown", "quarantine-unknown", ""),
        ("breach close unknown", "breach-unknown", "maillon breach list"),
        ("breach draft unknown jwks.json", "breach-kind", "token-stolen"),
        ("partner add Essai --connector ccas --jwks jwks.json", "partner-id", "lower case"),
        ("partner add essai --connector ccas --certificate name=a.fr", "tls-client-auth", "san_dns"),
        ("partner add essai --connector ccas --jwks jwks.json --dpop-jkt abc", "dpop-jkt", "RFC 7638"),
        ("partner rotate nobody --dpop-jkt abc", "partner-unknown", "none"),
        ("partner rotate nobody --dpop-jkt abc --compromised", "one-credential", "--jwks"),
        (
            "partner add essai --connector ccas --certificate san_dns=a.fr --purpose unknown",
            "unknown-purpose",
            "orient",
        ),
        ("partner add essai --connector ccas --certificate san_dns=", "tls-client-auth", "san_dns"),
        ("partner add essai --connector ccas --certificate san_dns=a.fr --role unknown", "role-unknown", "delegataire"),
        ("collect --from caf", "carrier-unknown", "hubee"),
        (f"basis lift {NOBODY}", "basis-unknown", "maillon basis list"),
        (f"reidentify use {NOBODY}", "reidentification-unknown", "maillon reidentify list"),
        ("notice publish essai latin.txt --version 1", "not-utf8", "UTF-8"),
        ("notice publish essai empty.txt --version 1", "notice-empty", "word"),
        ("notice publish essai list.json --version 1 --language fra", "notice-language", "two letters"),
        (f"receipt replay 12m:{'9' * 30}", "receipt-none", "this id"),
        ("basis record list.json", "bad-json", "object"),
        ("basis record basis.json", "person-unknown", "earch"),
    ],
)
def test_a_name_of_nothing_is_wrong_usage_and_what_exists_is_named(
    maillon: Callable[..., Typed], words: str, code: str, named: str
) -> None:
    told = maillon(*words.split())
    assert told.status == 2, told
    assert told.said.startswith(f"{code}: ")
    assert named in told.said


def test_a_file_that_is_refused_is_no_wrong_usage(maillon: Callable[..., Typed]) -> None:
    Path("autre.xml").write_text("<AUTRE/>")
    assert maillon("ingest", "autre.xml", "--from", "caf", "--document", "caf.flux_beneficiaire").status == 1


def test_a_file_that_lacks_a_column_is_refused_with_its_name(
    maillon: Callable[..., Typed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILLON_DEPARTEMENT", "040")
    Path("bref.csv").write_text("ID_CD;Nom\n")
    told = maillon("map", "bref.csv", "--read", "departement.orientation_csv")
    assert (told.status, told.said) == (1, "missing-header: PRENOM: a mandatory column is missing")


@pytest.mark.parametrize("words", ["map flux.xml --read", "ingest flux.xml --from departement --document"])
def test_a_setting_that_lacks_is_named_as_it_is_set(
    maillon: Callable[..., Typed], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.delenv("MAILLON_DEPARTEMENT", raising=False)
    told = maillon(*words.split(), "departement.webrsa_ali")
    assert (told.status, told.stdout) == (1, "")
    assert "MAILLON_DEPARTEMENT" in told.said


def test_the_name_of_a_document_is_whole_on_a_terminal_of_eighty_columns(
    maillon: Callable[..., Typed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output.people, "width", 80)
    listed = maillon("connector", "list")
    for documents in json.loads(listed.stdout).values():
        assert set(documents["documents"]) <= set(listed.said.split())


@pytest.mark.parametrize("words", [("--version",), ("--version", "serve")])
def test_the_version_is_the_one_of_the_package(maillon: Callable[..., Typed], words: tuple[str, ...]) -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]
    assert maillon(*words) == (0, f"maillon {declared}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        "drop flux.xml --from caf", "journal export flux.xml", "journal verify nowhere", "journal verify flux.xml",
        "journal verify --policy home", "journal verify --since home", "register --html home", "register --csv home",
        "evidence caseload --html home", "ingest flux.xml --from caf --rejects home", "ingest home --from caf",
        f"person export {NOBODY} --output flux.xml", "connector new essai --folder flux.xml", "lint nowhere",
        "convention add home", "evidence caseload --html nowhere/page.html", "register --csv nowhere/page.csv",
        "alerts --on hier", "evidence caseload --day 2026-13-01", "demo-data caf -o suite.xml --mois 2026-13",
        "demo-data caf -o suite.xml --foyers -1", "serve --port -1", "serve --workers 0", "work --metrics-port -1",
        "sandbox ccas --port 70000", "demo --port 70000", "drop home --from caf --watch -1",
    ],
)  # fmt: skip
def test_a_path_or_a_day_that_cannot_serve_is_wrong_usage(
    maillon: Callable[..., Typed], desk: Path, words: str
) -> None:
    """A folder for a file, a file for a folder, a place that is not there, a day that is none."""
    (desk / "home").mkdir(exist_ok=True)
    typed = maillon(*words.split())
    assert (typed.status, typed.stdout) == (2, ""), typed
    assert "Traceback" not in typed.said
    assert typed.said


def commands(inside: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, one in getattr(inside, "commands", {}).items():
        yield (*words, name), one
        yield from commands(one, (*words, name))


def test_help_says_every_word_that_was_written_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets are words too: `maillon lint` prints `file:line: code message [page]`."""
    monkeypatch.setenv("COLUMNS", "1000")
    application = cli.application()
    for words, one in commands(typer.main.get_command(application)):
        shown = CliRunner().invoke(application, [*words, "--help"], terminal_width=1000).stdout
        told = [one.help or "", *(getattr(param, "help", "") or "" for param in one.params)]
        assert all(told), (words, [param.name for param in one.params if not getattr(param, "help", "")])
        for text in told:
            plain = " ".join(text.replace("`", "").split())
            assert plain in " ".join(shown.split()), (words, plain)


def test_the_suite_of_a_connector_leaves_the_database_of_the_settings_alone(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It plays an exchange through the door of a gateway of its own, whatever this machine's settings name."""
    theirs = desk / "theirs.db"
    monkeypatch.setenv("MAILLON_DATABASE_URL", f"sqlite:///{theirs}")
    settings.cache_clear()
    try:
        run = CliRunner().invoke(cli.application(), ["connector", "check", "ccas"])
    finally:
        settings.cache_clear()
    assert run.exit_code == 0, run.stderr
    assert not theirs.exists()
