"""What is read of HubEE's answers. File names are not: nothing is routed by them and no path is built from them."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from connectors.hubee.client import Stopped

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]
"""An identifier of the hub: it goes into addresses, so nothing else passes."""
Word = Annotated[str, StringConstraints(max_length=100)]


class _Told(BaseModel):
    """A field that is null is one that is not there."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _told(cls, told: Any) -> Any:
        return {name: value for name, value in told.items() if value is not None} if isinstance(told, dict) else told


class Organisation(_Told):
    type: Word = ""
    company_register: Word
    branch_code: Word


class Attachment(_Told):
    id: Id
    type: Word
    size: int
    status: Word


class Event(_Told):
    id: Id
    action_type: Word
    status: Word
    message: str | None = Field(default=None, repr=False)
    case_new_status: Word | None = None
    partner_attributes: str | None = None
    attachments: tuple[Attachment, ...] = ()


class Case(_Told):
    id: Id
    status: Word
    process_code: Word
    recipient: Organisation
    attachments: tuple[Attachment, ...] = ()
    events: tuple[Event, ...] = ()


class Notification(_Told):
    id: Id
    process_code: Word
    case_id: Id
    recipient: Organisation | None = None
    event_id: Id | None = None
    event_status: Word | None = None


class FolderCase(_Told):
    id: Id
    external_id: Word
    status: Word


class Folder(_Told):
    id: Id
    global_status: Word
    attachments: tuple[Attachment, ...]
    cases: tuple[FolderCase, ...]


T = TypeVar("T", bound=_Told)


def read(model: type[T], told: Any) -> T:
    """Raises `Stopped` (`answer-unexpected`) when HubEE does not answer what its contract says."""
    try:
        return model.model_validate(told)
    except ValidationError:
        raise Stopped("retry", "answer-unexpected") from None
