"""What a convention may not say: words that cannot be read, dates that contradict each other, flows that the law never
permits or that nobody could receive.

A convention narrows what the law allows and never widens it: a flow that claims a category no rule could ever permit
is refused before the convention is registered.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from connectors.manifest import Manifest, installed
from gateway.convention_model import Convention, Flow, codes_of, inside
from gateway.own_documents import OWN
from gateway.policy_table import Table
from gateway.problems import Invalid
from schemas.normalisation import in_plain_sight

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Fault(NamedTuple):
    """One fault of a convention: its place in the file (`annexe.0.flux.2.document`), a stable code, a sentence."""

    place: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.place}: {self.message}" if self.place else f"{self.code}: {self.message}"


@lru_cache(maxsize=256)
def parse(content: bytes) -> Convention:
    """A convention from its file. Raises `Invalid` (`convention-invalid`) with what is wrong and where.

    What the law lets it say is checked before it is registered (`against_law`): a later table withholds by itself.
    """
    found, faults = understood(content)
    if found is None or faults:
        raise Invalid("convention-invalid", "; ".join(map(str, faults)))
    return found


def understood(content: bytes) -> tuple[Convention | None, list[Fault]]:
    """A convention, if its words can be read, and everything that is wrong in it."""
    try:
        found = Convention.model_validate(tomllib.loads(content.decode()))
    except ValidationError as error:
        return None, [_misread(one) for one in error.errors()[:8]]
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and lists in lists without end
        return None, [Fault("", "toml", f"The file is not readable TOML: {error}")]
    return found, check(found)


def _misread(error: ErrorDetails) -> Fault:
    """What the grammar of a convention does not take, in plain words."""
    place, kind = ".".join(map(str, error["loc"])), error["type"]
    if kind.startswith("date_"):
        return Fault(place, "date", "write a date without quotes, year-month-day: 2026-12-31")
    words = {"missing": "this word is missing", "extra_forbidden": "a convention has no such word here"}
    return Fault(place, "word", words.get(kind, error["msg"]))


def against_law(convention: Convention, law: Table) -> Iterator[Fault]:
    """Flows that say what the law does not allow them to say."""
    for place, flow in convention.placed(convention.debut):
        for word, code, message in _check_flow(flow, law):
            yield Fault(f"{place}.{word}", code, f"{flow.id}: {message}")


def check(convention: Convention) -> list[Fault]:
    """Where a convention contradicts itself."""
    found: list[Fault] = [*_check_whole(convention)]
    seen: set[str] = set()
    for place, flow in convention.placed(convention.debut):
        if flow.id in seen:
            found.append(Fault(place, "flow-duplicate", f"{flow.id}: declared twice"))
        seen.add(flow.id)
    documents = {flow.document for flow in convention.flows(convention.debut)}
    for rank, switch in enumerate(convention.activation_territoire):
        if unknown := set(switch.documents) - documents:
            place, told = f"activation_territoire.{rank}.documents", ", ".join(sorted(unknown))
            found.append(Fault(place, "switch-unknown", f"{switch.territoire}: no flow carries {told}"))
    return [*found, *_check_desserte(convention)]


def _check_whole(convention: Convention) -> Iterator[Fault]:
    if convention.fin < convention.debut:
        yield Fault("fin", "dates", f"fin comes before debut ({convention.debut})")
    for rank, one in enumerate(convention.annexe):
        if one.fin and one.debut and one.fin < one.debut:
            yield Fault(f"annexe.{rank}.fin", "dates", f"fin comes before debut ({one.debut})")
    if not convention.flux and not convention.annexe:
        yield Fault("flux", "no-flow", "a convention names at least one flow")
    parties = [(f"partie.{rank}.id", one.id) for rank, one in enumerate(convention.partie)]
    parties += [(f"annexe.{rank}.partie.id", one.partie.id) for rank, one in enumerate(convention.annexe)]
    for number, (place, id) in enumerate(parties):
        if any(id == other for _, other in parties[:number]):
            yield Fault(place, "party-twice", f"{id} signs twice: a party signs once")


def _check_desserte(convention: Convention) -> Iterator[Fault]:
    parties = {one.id for one in convention.partie} | {one.partie.id for one in convention.annexe}
    named = dict[tuple[str, str], str]()
    for rank, one in enumerate(convention.desserte):
        place = f"desserte.{rank}"
        if one.organisme not in parties:
            yield Fault(f"{place}.organisme", "service-party", f"{one.service}: {one.organisme} signs nothing here")
        if outside := sorted(code for code in one.communes if not inside(code, convention.perimetre)):
            message = f"{one.service}: {', '.join(outside)} outside the perimeter"
            yield Fault(f"{place}.communes", "service-outside", message)
        for code in one.communes:
            if (other := named.setdefault((one.nature, code), one.service)) != one.service:
                message = f"{code}: served by {other} and {one.service}, both {one.nature}"
                yield Fault(f"{place}.communes", "service-twice", message)


def _check_flow(flow: Flow, law: Table) -> Iterator[tuple[str, str, str]]:
    """(word of the flow, stable code, sentence)."""
    for word, fact, value in (
        ("de", "sender", flow.role_de), ("vers", "recipient", flow.role_vers), ("regime", "regime", flow.regime),
        ("purpose", "purpose", flow.purpose), ("art9_gate", "art9_gate", flow.art9_gate),
    ):  # fmt: skip
        if value not in law.domains[fact]:
            yield word, "flow-word", f"unknown {fact} {value or '(a body that is not a party)'}"
            return
    reachable = law.reachable(flow.role_de, flow.role_vers, flow.regime, flow.purpose)
    if not reachable:
        yield "purpose", "flow-no-permit", "no rule of the decision table, signed or proposed, ever permits this flow"
    for name in flow.categories or ():  # a category of the model claims only what the law permits of it
        if reachable and not (codes_of([name]) & reachable.keys()):
            yield "categories", "flow-category", f"the law never permits {name} here"
    if flow.information == "collective":
        if law.regimes[flow.regime].information != "collective":
            yield "information", "flow-information", f"{flow.regime} asks for information given to each person"
        if not flow.notice:
            yield "notice", "flow-notice", "a collective information names its notice"


def check_documents(convention: Convention, connectors: Mapping[str, str]) -> Iterator[Fault]:
    """Flows whose document their recipient could never receive.

    A flow names what its recipient is written, or is asked for. `connectors`: the connector that speaks for each body
    already known; a body that registers later may come with any of those installed. Raises `ManifestError`.
    """
    received = {id: _received(one.manifest) | OWN.keys() for id, one in installed().items()}
    received_by_any = frozenset(OWN).union(*received.values())
    known = received_by_any.union(*(one.manifest.documents for one in installed().values()))
    for place, flow in convention.placed(convention.debut):
        connector = connectors.get(flow.vers)
        its = received.get(connector or "", received_by_any)
        if flow.document in its:
            continue
        who = f"{flow.vers} (connector {connector}) does" if connector in received else "bodies do"
        what = f"{who} not receive {flow.document}" if flow.document in known else f"no document is {flow.document}"
        yield Fault(f"{place}.document", "flow-document", f"{flow.id}: {what}; is it {_nearest(flow.document, its)}?")


def _nearest(document: str, ids: Collection[str]) -> str:
    """The ids most like this one, else those of the same partner, else all of them."""
    partner = document.partition(".")[0]
    same = [id for id in ids if id.partition(".")[0] == partner]
    return " or ".join(difflib.get_close_matches(document, ids, n=2) or sorted(same or ids))


def _received(manifest: Manifest) -> frozenset[str]:
    return manifest.ids("write") | manifest.ids("pull")


def hidden(value: Any, place: str = "") -> Iterator[Fault]:
    """Texts that hide, or turn round, a part of themselves: what is signed is what pages show."""
    if isinstance(value, str) and not in_plain_sight(value):
        yield Fault(place, "text-hidden", "a character that no page shows, or a second line")
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in children:
        yield from hidden(one, f"{place}.{name}".lstrip("."))
