"""The JSON API's routes that change something: each is asked of one release, by a person who may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException
from fastapi import Path as PathParameter
from fastapi.params import Depends

from bulkhead.commands import Commands
from bulkhead.ledger.overview import RolloutView
from bulkhead.pods.identity import run_of
from bulkhead.web.actions import Person, act
from bulkhead.web.documents import (
    LONGEST_ID,
    ActionKind,
    ActionRequest,
    ApproveRequest,
    IsolateRequest,
    Permission,
    Recorded,
    Trouble,
)

_SAME_SITE = ("same-origin", "none")
"""What a browser says of a request that one of our own pages makes, or that a person has typed."""

_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"model": Trouble, "description": "who asks may not, or another site asks in their name"},
    409: {"model": Trouble, "description": "it is not possible any more; nothing was changed"},
}

ReleaseId = Annotated[int, PathParameter(ge=1, le=LONGEST_ID)]
"""Of a path."""

# A form or an image of another site can set no header, and a script of another site may not set this one: so the key
# also says that the request comes from a page of ours or from a program that has credentials of its own.
_Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_.:-]{8,100}$",
        description="of the caller's making: asked again under it, nothing more is done",
    ),
]
_Site = Annotated[str | None, Header(alias="Sec-Fetch-Site", include_in_schema=False)]


def action_routes(
    commands: Callable[[], Commands], person: Callable[..., Person], forget: Callable[[], None]
) -> APIRouter:
    """Make them.

    Args:
        commands: gives those of the control plane.
        person: a dependency of FastAPI's that gives who asks.
        forget: drops the answers that are kept, since they may be true no more.

    Returns:
        The routes.
    """
    router, asks = APIRouter(responses=_REFUSALS), _depends(person)

    def permitted(release_id: ReleaseId, key: _Key, who: Person = asks, site: _Site = None) -> _Asking:
        if site is not None and site not in _SAME_SITE:
            raise HTTPException(403, f"another site asks for this (Sec-Fetch-Site: {site}): open the page itself")
        control = commands()
        view = control.ledger.overview.rollout(release_id)
        permission = _permission(view, who)
        if not permission.allowed:
            which = "every DAG" if permission.dag_id is None else f"DAG {permission.dag_id!r}"
            raise HTTPException(403, f"acting on release {release_id} asks for the permission to edit {which}")
        return _Asking(control, view, who, key, forget)

    asking = _depends(permitted)

    @router.get("/releases/{release_id}/permission")
    def permission(release_id: ReleaseId, who: Person = asks) -> Permission:
        """Whether who asks may act on a release."""
        return _permission(commands().ledger.overview.rollout(release_id), who)

    @router.post("/releases/{release_id}/approve")
    def approve(asked: ApproveRequest, by: _Asking = asking) -> Recorded:
        """Let it go on from the step at which it waits."""
        return by.act(ActionKind.APPROVE, asked)

    @router.post("/releases/{release_id}/promote")
    def promote(asked: ActionRequest, by: _Asking = asking) -> Recorded:
        """Have it go to the last step of its plan at once. It is judged there."""
        return by.act(ActionKind.PROMOTE, asked)

    @router.post("/releases/{release_id}/rollback")
    def rollback(asked: ActionRequest, by: _Asking = asking) -> Recorded:
        """Return its traffic to what served before: while it is in progress, or its revision is the stable one."""
        return by.act(ActionKind.ROLL_BACK, asked)

    @router.post("/releases/{release_id}/return")
    def give_again(asked: ActionRequest, by: _Asking = asking) -> Recorded:
        """Give all of the traffic to its revision again, in one step and without a judgement."""
        return by.act(ActionKind.RETURN, asked)

    @router.post("/releases/{release_id}/isolate")
    def isolate(asked: IsolateRequest, by: _Asking = asking) -> Recorded:
        """Take its revision's traffic away, and keep it from any."""
        return by.act(ActionKind.ISOLATE, asked)

    @router.post("/releases/{release_id}/unisolate")
    def unisolate(asked: ActionRequest, by: _Asking = asking) -> Recorded:
        """End its revision's isolation. Nothing is given traffic by that."""
        return by.act(ActionKind.UNISOLATE, asked)

    return router


@dataclass(frozen=True)
class _Asking:
    """A person who may act on a release, and asks for it under a key."""

    commands: Commands
    view: RolloutView
    person: Person
    key: str
    forget: Callable[[], None]

    def act(self, kind: ActionKind, asked: ActionRequest) -> Recorded:
        done = act(self.commands, self.view, kind, self.person, self.key, asked)
        self.forget()
        return done


def _depends(on: Callable[..., Any]) -> Any:
    """A default that FastAPI fills in, which is no value of the parameter's type."""
    return Depends(on)


def _permission(view: RolloutView, person: Person) -> Permission:
    dag_id, _ = run_of(view.releaser or "") or (None, None)
    return Permission(person=person.name, dag_id=dag_id, allowed=person.may_edit(dag_id))
