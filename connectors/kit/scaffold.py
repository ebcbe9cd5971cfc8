"""A new connector: every file it needs, working at once for a sample person, ready to be bent to the partner.

    write(Choices(id="mobilite", name="Mobilité solidaire", role="ccas", format="json"), folder)

In the tree, the files go to `connectors/<id>`, `mappings/<id>` and `tests/<id>`; as a package of its own, everything
stands in one distribution that announces itself by the entry point group `maillon.connectors`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from connectors.manifest import Role

Format = Literal["json", "xml", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
ROLES: tuple[str, ...] = tuple(role for role in get_args(Role) if role not in ("dpo", "personne"))
_MEDIA = {"json": "application/json", "xml": "application/xml", "csv": "text/csv"}
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    variable_start_string="<<",
    variable_end_string=">>",
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 it writes Python and TOML, never a page
)
PERSON = {
    "numero": "D-0001", "nom": "ARBELIER", "prenoms": "SOLANGE MARIE", "date_naissance": "1985-06-12",
    "numero_france_travail": "40000000017",
    "telephone": "0658000001", "courriel": "solange.arbelier@exemple.invalid", "moyen_prefere": "SMS",
}  # fmt: skip
"""An invented person: a telephone that is never attributed, a domain that does not exist."""
IDENTITY = {
    "personne.nom_naissance": "ARBELIER",
    "personne.prenoms": ["SOLANGE", "MARIE"],
    "personne.date_naissance": "1985-06-12",
    "personne.preference_contact": "sms",
}
READ = IDENTITY | {
    "identifiants[ft_numero].valeur": PERSON["numero_france_travail"],
    "personne.telephones[+33658000001].numero": "+33658000001",
    "personne.courriels[solange.arbelier@exemple.invalid].adresse": "solange.arbelier@exemple.invalid",
}
SHEET = {name: PERSON[name] for name in ("nom", "prenoms", "date_naissance", "moyen_prefere")}
SITUATIONS = {
    "une_personne": PERSON,
    "page_suivante": PERSON | {"numero": "D-0002", "moyen_prefere": "TEL"},
    "code_inconnu": PERSON | {"numero": "D-0003", "moyen_prefere": "PIGEON"},
}


class Refused(Exception):
    """Nothing was written. `code` is stable; the text says what to change."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Choices:
    """What is asked of whoever begins a connector."""

    id: str
    name: str
    role: str = "ccas"
    format: Format = "json"
    package: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", self.id):
            raise Refused("bad-id", "an id is lower-case letters, digits and _, and begins with a letter")
        if self.role not in ROLES:
            raise Refused("bad-role", f"roles: {', '.join(ROLES)}")
        if self.format not in FORMATS:
            raise Refused("bad-format", f"formats: {', '.join(FORMATS)}")
        if not self.name.strip() or re.search(r'["\\\n\r\t<>]', self.name):
            raise Refused("bad-name", "a name is plain text on one line")

    @property
    def words(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role,
            "format": self.format,
            "ext": self.format,
            "media": _MEDIA[self.format],
            "class_name": "".join(part.capitalize() for part in self.id.split("_")),
            "package": f"maillon_{self.id}",
            "mapping_format": "table" if self.format == "csv" else self.format,
            "example_ext": "xml" if self.format == "xml" else "json",
            "fixture": f"{self.home}/fixtures/suivi/une_personne.{self.format}",
        }

    @property
    def home(self) -> str:
        """The connector's folder, from the folder that is written into."""
        return f"{self.root}maillon_{self.id}" if self.package else f"connectors/{self.id}"

    @property
    def root(self) -> str:
        return f"maillon-connecteur-{self.id.replace('_', '-')}/" if self.package else ""


def write(choices: Choices, folder: Path) -> list[Path]:
    """Write the files below `folder`, and return them. Raises `Refused` when one of them is already there."""
    files = {folder / name: text for name, text in plan(choices)}
    if taken := sorted(str(path) for path in files if path.exists()):
        raise Refused("already-there", f"{taken[0]} exists; choose another id or folder")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return sorted(files)


def plan(choices: Choices) -> Iterator[tuple[str, str]]:
    """(name, content) of each file."""
    home, words = choices.home, choices.words
    mapped = f"{home}/mappings/{choices.id}" if choices.package else f"mappings/{choices.id}"
    tests = f"{choices.root}tests/test_{choices.id}.py" if choices.package else f"tests/{choices.id}/test_contract.py"
    rendered = {
        f"{home}/manifest.toml": "manifest.toml",
        f"{home}/quality.toml": "quality.toml",
        f"{home}/connector.py": "connector.py",
        f"{home}/sandbox.py": "sandbox.py",
        f"{home}/README.md": "README.md",
        f"{mapped}/suivi.v1.toml": "suivi.toml",
        f"{mapped}/fiche.v1.toml": "fiche.toml",
        tests: "test.py",
    } | ({f"{choices.root}pyproject.toml": "pyproject.toml"} if choices.package else {})
    for name, template in rendered.items():
        yield name, _TEMPLATES.get_template(f"{template}.txt").render(words)
    yield f"{home}/__init__.py", ""
    for situation, person in SITUATIONS.items():
        yield f"{home}/fixtures/suivi/{situation}.{choices.format}", _document(choices.format, person)
    example = words["example_ext"]
    for situation in ("une_personne", "code_inconnu"):
        yield (
            f"{mapped}/examples/suivi/{situation}.{example}",
            _record(choices.format, "dossier", SITUATIONS[situation]),
        )
    yield (
        f"{mapped}/examples/suivi/une_personne.faits.json",
        _json({"personnes": [READ | {f"identifiants[dossier:{choices.id}].valeur": PERSON["numero"]}]}),
    )
    yield f"{mapped}/examples/fiche/une_personne.{example}", _record(choices.format, "fiche", SHEET)
    yield f"{mapped}/examples/fiche/une_personne.faits.json", _json({"personnes": [IDENTITY]})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _record(format: Format, name: str, person: dict[str, str]) -> str:
    """One record as a mapping reads or writes it."""
    if format != "xml":
        return _json(person)
    inside = "\n".join(f"  <{field}>{value}</{field}>" for field, value in person.items())
    return f"<{name}>\n{inside}\n</{name}>\n"


def _document(format: Format, person: dict[str, str]) -> str:
    """One document as the partner sends it."""
    if format == "json":
        return _json({"dossiers": [person]})
    if format == "xml":
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<dossiers>\n{_record(format, "dossier", person)}</dossiers>\n'
    rows = io.StringIO()
    csv.writer(rows, delimiter=";", lineterminator="\n").writerows([list(person), list(person.values())])
    return rows.getvalue()
