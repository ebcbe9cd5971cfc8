"""Documents that no connector speaks: any body may ask for them, filled from what it may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from connectors.manifest import Document
from gateway import canonical, fse_form
from schemas.record import Current, Written


class Own(Protocol):
    """A module that writes one of them."""

    DOCUMENT: Document
    OFFERED: frozenset[str]

    def write(self, current: Current, /) -> Written: ...


OWN: Mapping[str, Own] = {canonical.ID: canonical, fse_form.ID: fse_form}
