"""The HTTP application: routes, token, errors, OpenAPI."""

from fastapi import Depends, FastAPI, Response

from services.gateway.audit_routes import audit_routes
from services.gateway.backing import Backing
from services.gateway.event_routes import event_routes
from services.gateway.halt_routes import halt_routes
from services.gateway.history_routes import history_routes, notification_routes
from services.gateway.http_errors import ERRORS, add_error_handlers, token_check
from services.gateway.lifecycle_routes import lifecycle_routes
from services.gateway.reconciliation_routes import reconciliation_routes
from services.gateway.replies import HealthReply
from services.gateway.results_routes import results_routes
from services.gateway.strategy_routes import strategy_routes
from services.gateway.wallet_routes import venue_routes, wallet_routes
from shared.messaging.health import Health

_DESCRIPTION = """Strategies that keep crypto portfolios on their target weights.

Numbers are text, times UTC. Every request but /healthz, /docs and /openapi.json needs `Authorization: Bearer <token>`.
Send an `Idempotency-Key` with a POST or PATCH to be free to repeat it: the same key is the same command with the same
answer.
"""


def build_http(backing: Backing, token: str, health: Health) -> FastAPI:
    """The application over ``backing``; ``token`` is what callers must show."""
    http = FastAPI(title="Trimtab", version="1", description=_DESCRIPTION, redoc_url=None)
    add_error_handlers(http)
    protected = [Depends(token_check(token))]
    routers = (
        strategy_routes(backing),
        history_routes(backing),
        results_routes(backing),
        lifecycle_routes(backing),
        notification_routes(backing),
        wallet_routes(backing),
        reconciliation_routes(backing),
        venue_routes(backing),
        halt_routes(backing),
        event_routes(backing),
        audit_routes(backing),
    )
    for router in routers:
        http.include_router(router, dependencies=protected, responses=ERRORS)

    @http.get("/healthz", summary="Whether the gateway can answer", tags=["health"])
    async def healthz(response: Response) -> HealthReply:
        reasons = await health.reasons()
        response.status_code = 503 if reasons else 200
        return HealthReply(healthy=not reasons, problems=reasons)

    return http
