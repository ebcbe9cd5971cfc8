"""What a connector's author works with: pieces to build from, a scaffold, and the contract suite.

    from connectors import kit
    @pytest.mark.parametrize("case", kit.suite("mon_logiciel"), ids=str)
    def test_contract(case): case.verify()

`maillon connector new` and `maillon connector check` are the same things at the command line.
"""

from connectors.kit.answers import acknowledged, contacted, not_obtained, obtained, unsent
from connectors.kit.cases import Case, Result, suite
from connectors.kit.catalogue import Catalogue, CatalogueReading
from connectors.kit.grading import held
from connectors.kit.records import RecordsReading, content, entry, row
from connectors.kit.tables import TableReading

__all__ = [
    "Case", "Catalogue", "CatalogueReading", "RecordsReading", "Result", "TableReading", "acknowledged",
    "contacted", "content", "entry", "held", "not_obtained", "obtained", "row", "suite", "unsent",
]  # fmt: skip
