"""Control API of faults and conditions: add, list and end rules; put the venue under conditions."""

from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from services.simulated_exchange.conditions import Conditions
from services.simulated_exchange.faults.plan import FaultPlan
from services.simulated_exchange.faults.rules import FaultRule
from services.simulated_exchange.venue import Venue
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
    """Handlers under /control/faults and /control/conditions."""

    def __init__(self, venue: Venue, plan: FaultPlan) -> None:
        self._venue = venue
        self._plan = plan

    def routes(self) -> list[web.RouteDef]:
        """Routes of fault injection."""
        return [
            web.get("/control/conditions", self.conditions),
            web.post("/control/conditions", self.change_conditions),
            web.get("/control/faults", self.show),
            web.get("/control/faults/log", self.log),
            web.post("/control/faults", self.add),
            web.delete("/control/faults", self.remove),
            web.delete("/control/faults/{rule_id:[0-9]+}", self.remove),
        ]

    async def conditions(self, _request: web.Request) -> web.StreamResponse:
        """The conditions in force."""
        return self._conditions()

    async def change_conditions(self, request: web.Request) -> web.StreamResponse:
        """Any of them, as in {"identity": "kraken", "read_lag_ms": 3000}; the others stay."""
        changed = read_model(Conditions, await request.read()).model_dump(exclude_unset=True)
        self._venue.change_conditions(self._venue.conditions.model_copy(update=changed))
        return self._conditions()

    def _conditions(self) -> web.Response:
        return web.Response(body=self._venue.conditions.model_dump_json(), content_type="application/json")

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
