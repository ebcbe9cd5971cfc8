"""`maillon lint`: mappings, manifests, decision tables and conventions, each by its own checks."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import mappings
from connectors.manifest import ManifestError, installed, load_quality, packages
from connectors.manifest import load as load_manifest
from gateway import convention_checks
from gateway.policy_table import DEFAULT, Table, shipped
from gateway.policy_table import lint as lint_policy
from gateway.problems import Misnamed
from mappings.coverage import Places, leaves
from mappings.grammar import MappingError
from mappings.lint import Explained, explained, shown
from mappings.lint import lint as lint_mappings

_OF_OTHERS = frozenset({"pyproject.toml", "maillon.toml"})
_ROOT = Path(__file__).resolve().parents[1]


def lints() -> dict[str, Explained]:
    """Every lint of `maillon lint`, explained: mappings, manifests, policy, conventions."""
    return explained() | explained(DEFAULT.with_name("lints.toml"))


def lint(paths: list[Path], law: Callable[[], Table] = shipped) -> list[str]:
    """`file:line: code message` of each fault of these files and folders; without any, of the whole gateway. `law`
    gives the table that conventions are held against. Raises `Misconfigured` as it does, and `Misnamed`
    (`lint-nothing`) when none of these is ours to check: that would read as sound."""
    if not paths:
        manifests = [folder for _, folder in packages()]
        return [
            *map(str, lint_mappings(mappings.files())),
            *_manifests(manifests),
            *lint_policy(),
            *_conventions(_ours(), shipped),
        ]
    files = [file for path in paths for file in (_inside(path) if path.is_dir() else [path])]
    if not files:
        raise Misnamed("lint-nothing", "No mapping, manifest, decision table or convention is there: name its folder.")
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(_kind(file), []).append(file)
    return [
        *map(str, lint_mappings(kinds.get("mapping", ()))),
        *_manifests(dict.fromkeys(file.parent for file in kinds.get("manifest", ())), kinds.get("mapping", ())),
        *(one for file in kinds.get("policy", ()) for one in lint_policy(file)),
        *_conventions(kinds.get("convention", ()), law),
    ]


def coverage() -> Iterator[tuple[str, int, int, int]]:
    """Of each mapping that reads a document whose schema is listed: its id, the elements it maps, those it declares
    not shared, and all those of the schema."""
    for mapping in mappings.all_mappings():
        if mapping.file.direction == "read" and (elements := leaves(mapping)):
            read = sum(bool(one.canonical) for one in elements)
            yield mapping.id, read, sum(bool(one.reason) and not one.canonical for one in elements), len(elements)


def _inside(folder: Path) -> list[Path]:
    """The TOML files of a folder that are of one of our kinds: not a distribution's own, nor the settings, nor data,
    nor what stands in a hidden folder (`.venv`)."""
    found = (file for file in folder.rglob("*.toml") if file.name not in _OF_OTHERS and _is_ours(file))
    return sorted(file for file in found if not any(part[0] == "." for part in file.relative_to(folder).parts))


def _is_ours(file: Path) -> bool:
    """Is it of one of our kinds? A mapping by its name or its sections; what is no TOML may be one half written."""
    if _kind(file) != "mapping" or re.search(r"\.v\d+\.toml$", file.name):
        return True
    try:
        return "section" in tomllib.loads(file.read_bytes().decode())
    except (ValueError, RecursionError):
        return True


def _ours() -> list[Path]:
    """The conventions of this tree."""
    return sorted([*(_ROOT / "examples").rglob("convention*.toml"), *_ROOT.glob("gateway/demo/**/convention*.toml")])


def _kind(file: Path) -> str:
    """What a TOML file is, from its name or from the tables that only its kind has."""
    if file.name in ("manifest.toml", "quality.toml"):
        return "manifest"
    heads = set(re.findall(r"^\[\[(\w+)\]\]", file.read_bytes().decode("utf-8", "replace"), re.MULTILINE))
    return "policy" if "rule" in heads else "convention" if heads & {"partie", "flux"} else "mapping"


def _manifests(folders: Iterable[Path], beside: Iterable[Path] = ()) -> Iterator[str]:
    """What is wrong in `manifest.toml` and `quality.toml` of each of these connectors, whose mappings are installed, or
    among the files `beside`."""
    try:
        known = mappings.known() | {_id_of(file) for file in beside}
    except MappingError as error:  # two files claim one id, or a name is none: which connector means which is unknown
        yield f"{error.where}:1: {error.code} {error.detail}"
        return
    for folder in folders:
        try:
            manifest = load_manifest(folder)
            load_quality(folder)
        except ManifestError as error:
            places = Places(error.file.read_bytes().decode("utf-8", "replace") if error.file.is_file() else "")
            for where, what in error.problems:
                line = places.refused("mapping-grammar", f"{what if where == 'toml' else where}: ")
                yield f"{shown(error.file)}:{line}: manifest {where}: {what}"
            continue
        places = Places((folder / "manifest.toml").read_text(encoding="utf-8"))
        for id in (id for document in manifest.document for id in document.mapping if id not in known):
            near = "".join(f"; is it {one}?" for one in get_close_matches(id, known, n=1))
            yield f"{shown(folder / 'manifest.toml')}:{places.quoted(id)}: mapping-unknown no mapping is {id}{near}"


def _id_of(mapping: Path) -> str:
    """The id that a mapping file claims; what else is wrong in it is told at its own lines."""
    found = re.search(r'^id\s*=\s*"([^"]+)"', mapping.read_bytes().decode("utf-8", "replace"), re.MULTILINE)
    return found[1] if found else ""


def _conventions(files: Iterable[Path], law: Callable[[], Table]) -> Iterator[str]:
    """What is wrong in each convention; a body that bears the id of a connector is taken to speak by it."""
    for file in files:
        content = file.read_bytes()
        places = Places(content.decode("utf-8", "replace"))
        found, faults = convention_checks.understood(content)
        if found is not None:
            faults += convention_checks.against_law(found, law())
            with contextlib.suppress(ManifestError, MappingError):  # told where they stand
                faults += convention_checks.check_documents(found, {id: id for id in installed()})
        for one in faults:
            line = places.at(one.place) if one.place else places.refused(one.code, one.message)
            yield f"{shown(file)}:{line}: convention-invalid {one}"
