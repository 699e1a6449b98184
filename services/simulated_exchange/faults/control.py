"""Control API of faults: add, list and end rules."""

from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from services.simulated_exchange.faults.plan import FaultPlan
from services.simulated_exchange.faults.rules import FaultRule
from shared.core.errors import Problem, Refused, shown

_M = TypeVar("_M", bound=BaseModel)


def read_model(model: type[_M], raw: bytes) -> _M:
    """A body as a model. Raises Refused with a problem for each field that is wrong."""
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise Refused(
            Problem(
                field=".".join(map(str, found["loc"])) or "body",
                value=shown(found["input"]),
                allowed="see the table of faults in the README",
                message=found["msg"],
            )
            for found in error.errors()
        ) from None


class FaultControl:
    """Handlers under /control/faults."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan

    def routes(self) -> list[web.RouteDef]:
        """Routes of fault injection."""
        return [
            web.get("/control/faults", self.show),
            web.get("/control/faults/log", self.log),
            web.post("/control/faults", self.add),
            web.delete("/control/faults", self.remove),
            web.delete("/control/faults/{rule_id:[0-9]+}", self.remove),
        ]

    async def show(self, _request: web.Request) -> web.StreamResponse:
        """Rules in force and counts of what was injected."""
        return _reply(self._plan.view())

    async def log(self, _request: web.Request) -> web.StreamResponse:
        """What was injected into what, oldest first."""
        return _reply(self._plan.log())

    async def add(self, request: web.Request) -> web.StreamResponse:
        """A rule, as in {"kind": "lost_reply", "method": "POST", "path": "/api/v3/order", "nth": 3}."""
        rule = read_model(FaultRule, await request.read())
        return _reply({"id": self._plan.add(rule)})

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """End one rule, or all of them; those already ended do not matter."""
        rule_id = request.match_info.get("rule_id")
        self._plan.remove(int(rule_id) if rule_id is not None else None)
        return _reply(self._plan.view())


def _reply(answer: object) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json")
