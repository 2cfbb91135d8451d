"""Sign-ins that are ended before their tokens would: one's own, and by an operator anybody's."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from smart_support.api.access import Anybody, Operator, Shown
from smart_support.api.parts import Running
from smart_support.identity.people import Role

router = APIRouter(prefix="/api", tags=["sign-ins"])

Id = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class SignOut(BaseModel):
    """What is to end."""

    everywhere: bool = Field(default=False, description="Every token of mine, not only this one.")


class SignInsToEnd(BaseModel):
    """Whose sign-ins are to end: a person's, or one alone."""

    person_id: Id | None = None
    role: Role | None = Field(None, description="Of the person; none for all roles.")
    token_id: Id | None = Field(None, description="As the audit log shows it at a sign-in.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.person_id is None) is (self.token_id is None):
            raise ValueError("give either `person_id` or `token_id`")
        if self.token_id is not None and self.role is not None:
            raise ValueError("`role` belongs to `person_id`")
        return self


class Ended(BaseModel):
    """What was ended."""

    ended_at: datetime = Field(description="Tokens that were issued then or before hold no more.")


@router.post("/me/sign-out", summary="Sign out")
async def sign_out(wanted: SignOut, person: Anybody, sign_in: Shown, parts: Running) -> Ended:  # noqa: ARG001
    """End the token of this request, or all of this person, at once and in every process.

    Open chats of the tokens are closed with 4401.
    """
    ended_at = await parts.sign_ins.sign_out(sign_in, everywhere=wanted.everywhere)
    return Ended(ended_at=ended_at)


@router.post("/sign-ins/end", summary="End somebody's sign-ins")
async def end_sign_ins(wanted: SignInsToEnd, person: Operator, parts: Running) -> Ended:
    """End every token that a person has, or one token, at once and in every process.

    Open chats of the tokens are closed with 4401. Tokens that are issued afterwards are good.
    """
    sign_ins, actor, role = parts.sign_ins, person.id, person.role.value
    if wanted.person_id is not None:
        roles = Role if wanted.role is None else [wanted.role]
        ended_at = await sign_ins.end_person(wanted.person_id, roles, actor=actor, role=role)
    else:
        ended_at = await sign_ins.end_token(wanted.token_id or "", actor=actor, role=role)
    return Ended(ended_at=ended_at)
