"""Rejected and quarantined records of a file, told beside it as JSON Lines: ranks, codes and places, never a value."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.record import Record


class Rejects:
    """The lines of one file. A run that goes on where another stopped keeps what was told of the records committed
    then; what was told of the others is told again, so that each stands once."""

    def __init__(self, path: Path) -> None:
        self._lasts = path.is_file() or not path.exists()  # a terminal or a pipe keeps nothing of an earlier run
        self.told = 0
        """Records that have their line."""
        self._stream = path.open("a+" if self._lasts else "w", buffering=1, encoding="utf-8")  # each line at once

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()

    def start(self, done: int) -> None:
        """Keep the lines of the first `done` records: none for a new file, all for one that was read already."""
        if not self._lasts:
            return
        self._stream.seek(0)
        kept = [line for line in self._stream if 0 < _rank(line) <= done]
        self._stream.truncate(0)
        self._stream.writelines(kept)
        self.told = len(kept)

    def tell(self, rank: int, record: Record) -> None:
        findings = [
            {"code": f.code, "path": f.path, "severity": f.severity, "detail": f.detail} for f in record.findings
        ]
        self.told += 1
        self._stream.write(json.dumps({"record": rank, "findings": findings}, ensure_ascii=False) + "\n")


def _rank(line: str) -> int:
    """0 for a line that a crash cut short, or that is not ours."""
    try:
        return int(json.loads(line)["record"])
    except (ValueError, TypeError, KeyError):
        return 0
