"""Reference pages made from the code: nothing here is typed twice."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer

import mappings
from connectors import kit
from connectors.kit import grading
from connectors.manifest import CRITERIA, installed
from gateway import lint, policy_table
from mappings import explain
from mappings.types import TYPES
from schemas.paths import FIELDS

ROOT = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """Place in the site to Markdown."""
    made = {
        "reference/api.md": api(),
        "reference/cli.md": cli(),
        "reference/connectors.md": connectors(),
        "reference/contract.md": contract(),
        "reference/fields.md": fields(),
        "reference/types.md": types(),
        "reference/errors.md": errors(),
        "reference/files.md": files(),
        "reference/findings.md": findings(),
        "reference/metrics.md": metrics(),
        "reference/settings.md": settings(),
        "reference/decision.md": decision(),
    }
    french = {f"reference/mappings/{one.id}.v{one.version}.md": explain.explain(one) for one in mappings.all_mappings()}
    rows = [
        (f"[{one.id}](mappings/{one.id}.v{one.version}.md)", one.version, one.title) for one in mappings.all_mappings()
    ]
    made["reference/mappings.md"] = page(
        "Mappings en français",
        "Ce qui est lu, écrit, perdu ou laissé de côté, document par document : la même page que `maillon explain`.",
        table(("document", "version", "titre"), rows),
    )
    return made | french | lints()


# --- writing Markdown -----------------------------------------------------------------------------------------------


def page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", *filter(None, parts))) + "\n"


def table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").strip()


def code(value: Any) -> str:
    return f"`{value}`" if value else ""


# --- what is read from the running code -----------------------------------------------------------------------------


def api() -> str:
    from gateway import openapi
    from gateway.app import build
    from gateway.registry import Gateway
    from gateway.settings import Settings

    with tempfile.TemporaryDirectory() as home:
        gateway = Gateway.open(Settings(profile="test", home=Path(home), issuer="http://127.0.0.1:8400"))
        described = openapi.description(gateway, build(gateway, embedded_worker=False).routes)
        gateway.engine.dispose()
    parts = [
        "Errors are `application/problem+json`: [errors](errors.md). The same as `/openapi.json` of a running gateway."
    ]
    for path, methods in sorted(described["paths"].items()):
        for method, told in methods.items():
            if isinstance(told, dict) and "responses" in told:
                parts.append(f"## {method.upper()} {path}")
                parts.append(told.get("description") or told.get("summary") or "")
                if given := told.get("parameters"):
                    rows = [(code(one.get("name", "")), one.get("in", ""), "yes" if one.get("required") else "",
                             one.get("description", "")) for one in given]  # fmt: skip
                    parts.append(table(("parameter", "in", "required", "what"), rows))
                rows = [(status, text) for status, one in told["responses"].items() if (text := one.get("description"))]
                parts.append(table(("answer", "means"), rows))
    return page("HTTP API", *parts)


def cli() -> str:
    from gateway.cli import app

    parts = ["`maillon` is the same as `python -m gateway`. JSON goes to stdout alone; words for people to stderr."]
    root = typer.main.get_command(app)
    for name, command in _commands(root, "maillon"):
        parts.append(f"## {name}")
        parts.append((command.help or "").replace("\f", "").strip())
        rows = []
        for one in command.params:
            if one.name != "help":
                shown = (
                    one.opts[0] if isinstance(one, click.Option) or one.opts[0].startswith("-") else one.name.upper()
                )
                rows.append(
                    (code(", ".join(one.opts) if shown.startswith("-") else shown), getattr(one, "help", "") or "")
                )
        if rows:
            parts.append(table(("argument", "what"), rows))
    return page("Command line", *parts)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for short, one in sorted(inner.items()):
        yield from _commands(one, f"{name} {short}")


def connectors() -> str:
    parts = ["What each `manifest.toml` says, and the grade that `quality.toml` supports."]
    for id, one in installed().items():
        told = one.manifest
        grade = grading.LABELS[one.quality.grade]
        parts += [
            f"## {told.name}",
            f"`{id}` · role `{told.role}` · transport `{told.transport}` · {grade}. {told.source}.",
        ]
        rows = [(code(each.id), each.title, ", ".join(each.direction), each.format, ", ".join(each.purposes))
                for each in told.document]  # fmt: skip
        if rows:
            parts.append(table(("document", "title", "direction", "format", "purposes"), rows))
        named = [(code(each.name), each.description, "secret" if each.secret else code(each.default),
                  "yes" if each.required else "") for each in told.setting]  # fmt: skip
        if named:
            parts.append(table(("setting", "what", "default", "required"), named))
        lacking = [
            (name, each.missing or each.exempt) for name, each in one.quality.criteria.items() if not each.evidence
        ]
        if lacking:
            parts.append(table(("criterion not proved", "why"), lacking))
    return page("Connectors", *parts)


def contract() -> str:
    rows = [(code(one.name), one.title, one.criterion) for one in kit.suite(next(iter(installed())))]
    asked = [(grade, name, text) for grade, each in CRITERIA.items() for name, text in each.items()]
    return page(
        "Contract suite and grades",
        "`maillon connector check ID` asks every question below; a failed one contradicts its criterion, and the grade "
        "falls to what is still held.",
        "## Questions",
        table(("case", "what is asked", "criterion"), rows),
        "## Grades",
        table(("grade", "criterion", "met when"), asked),
    )


def fields() -> str:
    rows = [
        (code(one.path), one.description, f"liste de {one.type}" if one.multiple else one.type, code(one.categorie),
         one.liste or ", ".join(one.valeurs))
        for one in FIELDS.values()
    ]  # fmt: skip
    lists = {
        f"{'[]'.join(one.path.split('[]')[: rank + 1])}[]": (code(cle.nom), cle.liste or code(cle.motif.pattern))
        for one in FIELDS.values()
        for rank, cle in enumerate(one.cles)
    }
    return page(
        "Canonical paths",
        "What a mapping's row may name. `x[]` is a list, each item under the name that its section's `key` gives it.",
        table(("path", "meaning", "value", "category", "codes"), rows),
        table(
            ("list", "its items are named by", "codes, or form"), [(code(path), *told) for path, told in lists.items()]
        ),
    )


def types() -> str:
    rows = [(code(name), one.label, one.inputs) for name, one in TYPES.items()]
    return page("Mapping types", "How one becomes the other: see [mappings](../how-to/mappings.md).",
                table(("type", "reads", "partner paths"), rows))  # fmt: skip


def decision() -> str:
    told = policy_table.read()
    rows = [(code(rule.id), rule.effect, rule.source["status"] if hasattr(rule, "source") else "", _text(told, rule.id),
             "; ".join(rule.articles)) for rule in told.rules]  # fmt: skip
    pairs = [(*way, ", ".join(sorted(one.allowed)), ", ".join(sorted(one.never))) for way, one in told.pairs.items()]
    return page(
        "Table de décision",
        f"Version `{told.version[:16]}…`, {'signée' if told.signed else 'non signée'}. Comment la lire et la signer : "
        "[guide du DPO](../how-to/policy.md).",
        "## Règles",
        table(("règle", "effet", "état", "ce que lit la personne", "articles"), rows),
        "## Paires d'organismes",
        table(("de", "vers", "régime", "admis", "jamais"), pairs),
    )  # fmt: skip


def _text(told: Any, id: str) -> str:
    return next((str(rule.get("text_fr", "")) for rule in told.source["rule"] if rule["id"] == id), "")


# --- what is read from the source -----------------------------------------------------------------------------------


def _calls(*folders: str) -> Iterator[tuple[Path, ast.Call, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield path, node, getattr(node.func, "id", getattr(node.func, "attr", ""))


def _said(node: ast.expr | None) -> str:
    """The text of a literal; the varying parts of a formatted one are shown as …."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def files() -> str:
    parts = ["Each file of the code, and what it is for: the first paragraph of its own words."]
    for folder in ("schemas", "mappings", "connectors", "gateway"):
        rows = []
        for path in sorted((ROOT / folder).rglob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if said and "versions" not in path.parts:
                rows.append((code(path.relative_to(ROOT / folder)), said.partition("\n\n")[0]))
        parts += [f"## {folder}", table(("file", "for"), rows)]
    return page("Files", *parts)


def errors() -> str:
    from gateway import problems

    kinds = {name: kind for name, kind in vars(problems).items() if isinstance(kind, type)}
    found: dict[tuple[int, str], tuple[str, str]] = {}
    for _, node, name in _calls("gateway"):
        kind = kinds.get(name)
        if kind is not None and issubclass(kind, problems.Problem) and node.args and (told := _said(node.args[0])):
            detail = _said(node.args[1]) if len(node.args) > 1 else ""
            found.setdefault((kind.status, told), (kind.title, detail))
    rows = [(status, code(told), title, detail) for (status, told), (title, detail) in sorted(found.items())]
    return page("Errors", "RFC 9457 problem details; `type` is `urn:maillon:problem:` and the code. The title says who "
                "must act.", table(("status", "code", "who acts", "what to do"), rows))  # fmt: skip


def findings() -> str:
    found: dict[str, set[str]] = {}
    for path, node, name in _calls("connectors", "mappings", "schemas"):
        if name in ("Finding", "DocumentRefused") and node.args and (told := _said(node.args[0])):
            found.setdefault(told, set()).add(
                "refused" if name == "DocumentRefused" else path.relative_to(ROOT).parts[0]
            )
    rows = [
        (code(told), "whole document refused" if where == {"refused"} else "in a record")
        for told, where in sorted(found.items())
    ]
    return page("Findings", "What a document is told to have: codes and paths, never a value.",
                table(("code", "where"), rows))  # fmt: skip


def lints() -> dict[str, str]:
    """A page for each lint, and the list of them."""
    told = lint.lints()
    rows = [(f"[{code}](lints/{code}.md)", one.finds) for code, one in sorted(told.items())]
    listed = page(
        "Lints",
        "`maillon lint` prints `file:line: code message [page]`; `maillon lint --explain CODE` prints the page.",
        table(("code", "what it finds"), rows),
    )
    return {"reference/lints.md": listed} | {f"reference/lints/{code}.md": one.page for code, one in told.items()}


def settings() -> str:
    from gateway.settings import Settings

    rows = [
        (code(f"MAILLON_{name.upper()}"), code(_default(field)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return page(
        "Settings",
        "Each is a variable, or the same name without `MAILLON_` and in small letters in the settings' file; those of "
        "connectors stand there under `[bodies.<id>]`, and are told by [each connector](connectors.md).",
        table(("setting", "default", "what"), rows),
    )


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        return str(value.relative_to(ROOT))
    return "" if value in (None, "", {}) else str(value).lower() if isinstance(value, bool) else str(value)


def metrics() -> str:
    from prometheus_client import REGISTRY

    from gateway import app, delivery_metrics  # noqa: F401  they register what is measured

    rows = [
        (code(one.name), one.type, one.documentation) for one in REGISTRY.collect() if one.name.startswith("maillon")
    ]
    return page("Metrics", "`GET /metrics`, Prometheus text format. No label identifies a person.",
                table(("metric", "kind", "what"), sorted(rows)))  # fmt: skip
