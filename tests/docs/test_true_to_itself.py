"""The documentation stays true: links lead somewhere, commands exist, nothing personal or local is written."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
WRITTEN = sorted(
    path
    for path in (
        ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "connectors").glob("*/README.md"), ROOT / "mappings" / "README.md",
    )
)  # fmt: skip
_LINK = re.compile(r"!?\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that make the site, generated ones included, before they are rendered."""
    import build

    folder = tmp_path_factory.mktemp("site")
    build.gather(folder)
    return folder


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    if page.is_relative_to(ROOT / "docs" / "pages"):
        return  # links of the site: the next test
    missing = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert missing == []


def test_links_of_the_site_lead_somewhere(site: Path) -> None:
    broken = [
        f"{page.relative_to(site)}: {link}"
        for page in site.rglob("*.md")
        for link in _LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists() and not link.endswith("operations.md")
    ]
    assert broken == []


def _commands() -> set[str]:
    from gateway.cli import app

    def walk(command: object, words: str) -> set[str]:
        inner = getattr(command, "commands", {})
        return {words} | {found for name, one in inner.items() for found in walk(one, f"{words} {name}")}

    return walk(typer.main.get_command(app), "maillon")


def test_commands_that_are_written_exist() -> None:
    known, unknown = _commands(), set()
    groups = {name.rpartition(" ")[0] for name in known if name.count(" ") > 1}
    written = re.compile(r"(?:^ *|`)maillon ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.MULTILINE)
    for page in WRITTEN:
        for first, second in written.findall(page.read_text(encoding="utf-8")):
            name = f"maillon {first}"
            if name not in known or (name in groups and second and f"{name} {second}" not in known):
                unknown.add(f"{page.name}: {name} {second}")
    assert unknown == set()


def test_every_command_error_mapping_and_file_has_its_page(site: Path) -> None:
    import mappings

    files = (site / "reference" / "files.md").read_text(encoding="utf-8")
    for path in (ROOT / "gateway").glob("[!_]*.py"):
        assert f"`{path.name}`" in files, f"{path.name} does not say what it is for"
    cli = (site / "reference" / "cli.md").read_text(encoding="utf-8")
    assert "## maillon connector check" in cli
    assert "`idempotency-key-missing`" in (site / "reference" / "errors.md").read_text(encoding="utf-8")
    for mapping in mappings.all_mappings():
        assert (site / "reference" / "mappings" / f"{mapping.id}.v{mapping.version}.md").is_file()
    assert "POST /v1/exchanges" in (site / "reference" / "api.md").read_text(encoding="utf-8")


def test_every_setting_has_its_words(site: Path) -> None:
    page = (site / "reference" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`MAILLON_{name.upper()}`" in page
        assert field.description, f"{name} is not described where it is declared"


def test_every_page_of_the_navigation_exists(site: Path) -> None:
    named = re.findall(r'"([\w/.-]+\.md)"', (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (site / name).is_file()] == []


def test_nothing_local_or_unfinished_is_written(site: Path) -> None:
    marks = ("/" + "work/", "/" + "root/", "TO" + "DO", "FIX" + "ME", "NotImplemented")
    pages = [*WRITTEN, *site.rglob("*.md")]
    assert {(page.name, mark) for page in pages for mark in marks if mark in page.read_text(encoding="utf-8")} == set()


def test_every_finding_has_its_words() -> None:
    """What an engineer or an operator reads of a finding is a French label, never a bare code."""
    said = re.compile(r'(?:Finding|DocumentRefused|Bad)\(\s*"([a-z-]+)"')
    sources = [path for folder in ("connectors", "mappings", "gateway") for path in (ROOT / folder).rglob("*.py")]
    codes = {code for path in sources for code in said.findall(path.read_text(encoding="utf-8"))}
    labels = tomllib.loads((ROOT / "gateway/console/strings.toml").read_text(encoding="utf-8"))["constat"]
    assert len(codes) > 80
    assert sorted(codes - labels.keys()) == []


def test_every_reason_of_a_delivery_has_its_words() -> None:
    """What an operator reads of a delivery that waits or gave up is French; a partner's own codes stay as they are."""
    ends = re.compile(r'(?:Acknowledgement|Verdict|Stopped)\("(?:retry|refused|waiting)", "([a-z_-]+)"')
    raises = re.compile(
        r'(?:_refused|DestinationRefused|AnswerRefused|Unreachable|put_back)\((?:\w+, \w+, )?"([a-z_-]+)"'
    )
    here = ("gateway/delivery.py", "gateway/deposit.py")
    paths = [*(ROOT / "connectors").rglob("*.py"), *(ROOT / name for name in here)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths if path.parent.name != "hubee")
    codes = {code.replace("_", "-") for found in (ends, raises) for code in found.findall(text)}
    told = tomllib.loads((ROOT / "gateway/console/strings.toml").read_text(encoding="utf-8"))
    assert len(codes) > 40
    assert sorted(codes - told["motif"].keys() - told["contact_code"].keys()) == []


LOADING = {"mapping-taken", "mapping-type", "mapping-canonical"}
"""What only loading a mapping says: the lint tells the same faults under its own codes first."""
_SAID = re.compile(r'"((?:policy|convention|mapping)-[a-z]+)"')
_STARTING = {"policy-altered", "policy-invalid", "policy-missing", "policy-trusted", "policy-unsigned"}
"""What a gateway that starts says of its table as a whole."""


def test_every_lint_has_its_page_and_every_page_its_lint(site: Path) -> None:
    from gateway import lint

    text = {name: (ROOT / name).read_text("utf-8") for name in ("mappings/lint.py", "gateway/policy_table.py")}
    said = set(re.findall(r'yield [^\n]*?, "([a-z-]+)", ', text["mappings/lint.py"]))
    said |= {code for path in (ROOT / "mappings").glob("*.py") for code in _SAID.findall(path.read_text("utf-8"))}
    said |= set(_SAID.findall(text["gateway/policy_table.py"])) - _STARTING
    said |= {"policy-toml", "convention-invalid", "manifest", "mapping-unknown"}
    assert said - LOADING == set(lint.lints())
    assert {path.stem for path in (site / "reference" / "lints").iterdir()} == set(lint.lints())


def _policy_lints() -> list[str]:
    told = tomllib.loads((ROOT / "gateway" / "policies" / "lints.toml").read_text("utf-8"))
    return [code for code in told if code.startswith("policy-")]


@pytest.mark.parametrize("code", _policy_lints())
def test_the_fault_of_each_policy_page_is_told(code: str, tmp_path: Path) -> None:
    from gateway import lint, policy_table

    page, sound = lint.lints()[code], policy_table.DEFAULT.read_text("utf-8")
    assert page.after in sound
    for name in ("categories.toml", "delais.toml"):
        (tmp_path / name).write_bytes(policy_table.DEFAULT.with_name(name).read_bytes())
    broken = tmp_path / policy_table.DEFAULT.name
    broken.write_text(sound.replace(page.after, page.before, 1), "utf-8")
    assert code in [line.partition(": ")[2].partition(" ")[0] for line in policy_table.lint(broken)]
