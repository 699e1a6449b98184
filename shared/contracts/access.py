"""THE declaration of who may say and hear what on NATS. The server's configuration is generated from it.

``deploy.nats.generate`` writes ``deploy/nats/users.conf`` from this page; a service's rights follow from what it says
here that it does. Who is not named may do nothing.

Three kinds of users:

* Services share an account. Each has its own inbox, so that nobody reads the replies to somebody else.
* ``trimtab``, the operator: provisioning, rebuilding streams, the launcher. It may do everything in that account.
* ``auditor`` lives in an account of its own, into which only reads of the audit streams are imported. Permissions
  alone would not do: whoever may ask JetStream for a message chooses the subject that it is sent to, and in the
  services' account that could be somebody's command.
"""

from dataclasses import dataclass

from shared.contracts import catalogue, subjects
from shared.contracts.catalogue import AUDITOR_POSITIONS, CONSUMERS, STREAMS, ConsumerSpec

OPERATOR = "trimtab"
AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Follow:
    """A view of a stream: a consumer that is made for the moment, of one subject (wildcards allowed)."""

    stream: str
    subject: str


@dataclass(frozen=True, slots=True)
class ServiceAccess:
    """What one service does on NATS.

    ``stores``: subjects of streams it publishes. ``sends``, ``hears``: core NATS. ``asks``: requests it makes;
    ``answers``: requests it serves, in the queue group of its name; ``answers_each``: requests that each of its
    processes hears, in a group of its own below that name. ``works``: its durable consumers. ``follows``: see Follow.
    ``looks_up``: streams it reads the last value of; ``pages``: streams it reads message by message; ``measures``:
    streams it asks how full they are.
    """

    name: str
    stores: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    answers_each: tuple[str, ...] = ()
    works: tuple[ConsumerSpec, ...] = ()
    follows: tuple[Follow, ...] = ()
    looks_up: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()


_GATEWAY_EVENTS = (
    Follow("STRATEGIES", subjects.STRATEGIES_ALL),
    Follow("POSITIONS", subjects.POSITIONS_ALL),
    Follow("WALLETS", subjects.WALLETS_ALL),
    Follow("PLANS", subjects.PLANS_ALL),
    Follow("PLAN_RESULTS", subjects.PLAN_RESULTS_ALL),
    Follow("ORDERS", subjects.ORDERS_ALL),
    Follow("DEPOSITS", subjects.DEPOSITS_ALL),
    Follow("TRANSFERS", subjects.TRANSFERS_ALL),
    Follow("LEDGER", subjects.LEDGER_ALL),
    Follow("TREE_HEADS", subjects.TREE_HEADS),
    Follow("EVALUATIONS", subjects.EVALUATIONS_ALL),
    Follow("NOTIFICATIONS", subjects.NOTIFICATIONS_ALL),
    Follow("RECONCILIATION", subjects.RECONCILIATION_ALL),
    Follow("HALTS", subjects.HALTS_ALL),
)
"""What the gateway shows to whoever has the API's token."""

SERVICES: tuple[ServiceAccess, ...] = (
    ServiceAccess(
        "price_feed",
        stores=(subjects.PRICE_SNAPSHOTS_ALL,),
        sends=(subjects.PRICES_ALL,),
        follows=(Follow("INSTRUMENTS", subjects.INSTRUMENTS_ALL),),
    ),
    ServiceAccess(
        "strategy_registry",
        stores=(
            subjects.STRATEGIES_ALL,
            subjects.TRANSFER_COMMANDS_ALL,
            subjects.EXECUTOR_COMMANDS_ALL,
            subjects.NOTIFICATIONS_ALL,
        ),
        answers=(subjects.STRATEGY_COMMANDS,),
        works=(catalogue.REGISTRY_PLAN_RESULTS, catalogue.REGISTRY_TRANSFERS),
        looks_up=("INSTRUMENTS", "PRICE_SNAPSHOTS", "WALLETS", "POSITIONS"),
    ),
    ServiceAccess(
        "strategy_evaluator",
        stores=(subjects.PLANS_ALL, subjects.EVALUATIONS_ALL),
        sends=(subjects.EVALUATOR_HEARTBEATS, subjects.EVALUATOR_PROGRESS),
        hears=(subjects.PRICES_ALL, subjects.EVALUATOR_HEARTBEATS),
        asks=(subjects.STRATEGY_COMMANDS,),
        follows=(
            Follow("INSTRUMENTS", subjects.INSTRUMENTS_ALL),
            Follow("PRICE_SNAPSHOTS", subjects.PRICE_SNAPSHOTS_ALL),
            Follow("STRATEGIES", subjects.STRATEGIES_ALL),
            Follow("POSITIONS", subjects.POSITIONS_ALL),
            Follow("PLAN_RESULTS", subjects.PLAN_RESULTS_ALL),
            Follow("HALTS", subjects.HALTS_ALL),
        ),
    ),
    ServiceAccess(
        "order_executor",
        stores=(
            subjects.INSTRUMENTS_ALL,
            subjects.PLAN_RESULTS_ALL,
            subjects.ORDERS_ALL,
            subjects.DEPOSITS_ALL,
            subjects.RECONCILIATION_ALL,
            subjects.NOTIFICATIONS_ALL,
            subjects.HALTS_ALL,
        ),
        hears=(subjects.PRICES_ALL,),
        answers_each=(subjects.HALT_COMMANDS_ALL,),
        works=(catalogue.EXECUTOR_PLANS, catalogue.EXECUTOR_COMMANDS),
        follows=(Follow("PRICE_SNAPSHOTS", subjects.PRICE_SNAPSHOTS_ALL), Follow("BOOKS", subjects.BOOKS_ALL)),
    ),
    ServiceAccess(
        "ledger",
        stores=(
            subjects.LEDGER_ALL,
            subjects.TREE_HEADS,
            subjects.POSITIONS_ALL,
            subjects.WALLETS_ALL,
            subjects.BOOKS_ALL,
            subjects.TRANSFERS_ALL,
            subjects.SUSPENSE_ALL,
            subjects.NOTIFICATIONS_ALL,
        ),
        answers=(subjects.LEDGER_COMMANDS, subjects.AUDIT_COMMANDS),
        works=(
            catalogue.LEDGER_FILLS,
            catalogue.LEDGER_ORDERS,
            catalogue.LEDGER_DEPOSITS,
            catalogue.LEDGER_COMMANDS,
            catalogue.LEDGER_DIFFERENCES,
        ),
        measures=tuple(spec.name for spec in STREAMS if spec.discard_new),
        follows=(Follow("PRICE_SNAPSHOTS", subjects.PRICE_SNAPSHOTS_ALL),),
    ),
    ServiceAccess(
        "gateway",
        hears=tuple(event.subject for event in _GATEWAY_EVENTS),
        asks=(
            subjects.STRATEGY_COMMANDS,
            subjects.LEDGER_COMMANDS,
            subjects.AUDIT_COMMANDS,
            subjects.HALT_COMMANDS_ALL,
        ),
        follows=(
            *_GATEWAY_EVENTS,
            Follow("BOOKS", subjects.BOOKS_ALL),
            Follow("INSTRUMENTS", subjects.INSTRUMENTS_ALL),
            Follow("PRICE_SNAPSHOTS", subjects.PRICE_SNAPSHOTS_ALL),
        ),
        pages=tuple(event.stream for event in _GATEWAY_EVENTS),
    ),
)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects a user may publish and subscribe to, as NATS knows them; what is denied wins."""

    publish: tuple[str, ...]
    publish_denied: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_of(user: str) -> str:
    """The prefix of the subjects on which a user gets replies."""
    return f"_INBOX.{user}"


def permissions_of(service: ServiceAccess) -> Permissions:
    """Exactly what a service needs for what it does."""
    publish = ["$JS.API.INFO", *service.stores, *service.sends, *service.asks]
    for subject in (*service.answers, *service.answers_each):
        # Named, not `allow_responses`: that would let whoever asks choose where the answer goes.
        publish += [f"{inbox_of(other.name)}.>" for other in SERVICES if subject in other.asks]
    for spec in service.works:
        place = f"{spec.stream}.{spec.durable}"
        publish += [f"$JS.API.CONSUMER.{call}.{place}" for call in ("INFO", "MSG.NEXT")]
        publish += [f"$JS.ACK.{place}.>", subjects.dead_letters(spec.stream, spec.durable)]
    for follow in service.follows:
        publish.append(f"$JS.API.CONSUMER.CREATE.{follow.stream}.*.{follow.subject}")
        publish += [f"$JS.API.CONSUMER.{call}.{follow.stream}.*" for call in ("MSG.NEXT", "DELETE")]
        publish.append(f"$JS.API.STREAM.INFO.{follow.stream}")
    publish += [f"$JS.API.STREAM.INFO.{stream}" for stream in service.measures]
    publish += [f"$JS.API.STREAM.MSG.GET.{stream}" for stream in service.looks_up]
    for stream in service.pages:
        publish += [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.DIRECT.GET.{stream}"]
    subscribe = [
        f"{inbox_of(service.name)}.>",
        *service.hears,
        *(f"{subject} {service.name}" for subject in service.answers),
        *(f"{subject} {service.name}.*" for subject in service.answers_each),
    ]
    return Permissions(_unique(publish), _unique(_durables_of_others(service)), _unique(subscribe))


def _durables_of_others(service: ServiceAccess) -> list[str]:
    """The durable consumers of streams a service follows: its wildcards would cover them."""
    followed = {follow.stream for follow in service.follows}
    denied = []
    positions = [one for spec in STREAMS for one in catalogue.auditor_consumers(spec)]
    for spec in (*CONSUMERS, *positions):
        if spec.stream in followed:
            place = f"{spec.stream}.{spec.durable}"
            denied += [f"$JS.API.CONSUMER.CREATE.{place}.>"]
            denied += [f"$JS.API.CONSUMER.{call}.{place}" for call in ("MSG.NEXT", "DELETE")]
    return denied


def auditor_calls() -> tuple[str, ...]:
    """What is imported into the auditor's account: reading any message, and its kept positions."""
    calls = []
    for stream in catalogue.AUDIT_STREAMS:
        calls.append(f"$JS.API.DIRECT.GET.{stream}")
        for position in AUDITOR_POSITIONS:
            calls += [f"$JS.API.CONSUMER.{call}.{stream}.{position}" for call in ("INFO", "MSG.NEXT")]
            calls.append(f"$JS.ACK.{stream}.{position}.>")
    return tuple(calls)


def auditor_subjects() -> tuple[str, ...]:
    """The live subjects of the audit streams."""
    return tuple(subject for spec in STREAMS if spec.name in catalogue.AUDIT_STREAMS for subject in spec.subjects)


def _unique(subjects_named: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects_named))
