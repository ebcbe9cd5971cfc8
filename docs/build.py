"""Build the documentation site: `python docs/build.py [FOLDER]` (default: `site`), offline.

Hand-written pages come from `docs/` and `docs/pages/`, reference pages are generated from the code at each build
(`docs/reference.py`), and zensical makes the site. No page loads anything from elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(DOCS))

COPIED = {
    "explanation/architecture.md": DOCS / "architecture.md",
    "explanation/performance.md": DOCS / "performance.md",
    "explanation/capacity.md": DOCS / "capacity.md",
    "explanation/assurance.md": DOCS / "assurance.md",
    "explanation/coverage.md": DOCS / "coverage.md",
    "explanation/decisions.md": DOCS / "decisions.md",
    "explanation/journal.md": DOCS / "journal.md",
    "explanation/glossary.md": ROOT / "schemas" / "GLOSSARY.md",
    "explanation/accessibility.md": DOCS / "accessibility" / "README.md",
    "how-to/partner-access.md": DOCS / "partner-access.md",
    "how-to/mappings.md": ROOT / "mappings" / "README.md",
    "how-to/operations.md": DOCS / "operations.md",
    "how-to/dpo.md": DOCS / "dpo.md",
    "how-to/policy.md": ROOT / "gateway" / "policies" / "README.md",
}
"""Place in the site, and the page of the repository that stands there; one that is not written yet is left out."""
_LINK = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|#|mailto:)([^)#\s]+)((?:#[^)]*)?\))")


def gather(into: Path) -> dict[str, Path | None]:
    """Every Markdown page of the site, by place: the file it comes from, or None when it is generated."""
    import reference

    found: dict[str, Path | None] = {
        str(path.relative_to(DOCS / "pages")): path for path in sorted((DOCS / "pages").rglob("*.md"))
    }
    found |= {place: path for place, path in COPIED.items() if path.is_file()}
    places = {path.resolve(): place for place, path in found.items() if path is not None}
    for place, path in found.items():
        assert path is not None
        _write(into / place, _relinked(path, place, places))
    generated = reference.pages()
    for place, text in generated.items():
        _write(into / place, text)
    shutil.copytree(DOCS / "images", into / "images", dirs_exist_ok=True)
    for path in DOCS.glob("*.svg"):
        shutil.copy(path, into / "images")
    for path in (DOCS / "pages").rglob("*.css"):
        _write(into / path.relative_to(DOCS / "pages"), path.read_text(encoding="utf-8"))
    return found | dict.fromkeys(generated)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _relinked(path: Path, place: str, places: dict[Path, str]) -> str:
    """A page's text with its links between files turned into links between places; others become plain words."""
    depth = "../" * place.count("/")

    def to(match: re.Match[str]) -> str:
        target = (path.parent / match[2]).resolve()
        if target in places:
            return f"{match[1]}{depth}{places[target]}{match[3]}"
        if target.is_relative_to(DOCS / "images") or target.suffix == ".svg":
            return f"{match[1]}{depth}images/{target.name}{match[3]}"
        if path.is_relative_to(DOCS / "pages"):
            return match[0]
        return f"`{match[1].strip('![]()').replace('`', '')}`"

    return _LINK.sub(to, path.read_text(encoding="utf-8"))


def build(site: Path) -> int:
    """Build the site into `site`; returns the builder's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pages = gather(work / "docs")
        config = (DOCS / "zensical.toml").read_text(encoding="utf-8")
        nav = "\n".join(line for line in config.splitlines() if not (page := _page(line)) or page in pages)
        (work / "zensical.toml").write_text(nav, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict"]
        done = subprocess.run(command, cwd=work, check=False)  # noqa: S603 our own configuration
        if done.returncode == 0:
            shutil.rmtree(site, ignore_errors=True)
            shutil.copytree(work / "site", site)
    return done.returncode


def _page(line: str) -> str:
    found = re.search(r'"([\w/.-]+\.md)"', line)
    return found[1] if found else ""


if __name__ == "__main__":
    raise SystemExit(build(Path(sys.argv[1] if len(sys.argv) > 1 else "site").resolve()))
