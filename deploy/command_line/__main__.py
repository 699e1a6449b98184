"""`trimtab`: the program. Each group of commands is a module of its own."""

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

_INTERRUPTED = 130


def program() -> "typer.Typer":
    """The commands."""
    import typer

    from deploy.command_line import (
        audit,
        audit_streams,
        demo,
        events,
        halts,
        ledger,
        notifications,
        reconcile,
        stack,
        strategy,
        streams,
        wallet,
    )

    app = typer.Typer(
        name="trimtab",
        help="Keep crypto portfolios on their target weights: the whole system on this machine, and commands for it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command()(demo.demo)
    stack.register(app)
    app.add_typer(strategy.app, name="strategy")
    app.add_typer(wallet.app, name="wallet")
    app.add_typer(reconcile.app, name="reconcile")
    app.add_typer(ledger.app, name="ledger")
    app.add_typer(events.app, name="events")
    app.add_typer(streams.app, name="streams")
    audit_streams.register(audit.app)
    app.add_typer(audit.app, name="audit")
    app.command()(notifications.notifications)
    app.command()(halts.halt)
    app.command()(halts.resume)
    return app


def main() -> None:
    """The entry point of the command `trimtab`."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored:
        # While modules are loaded nothing has begun that would have to be undone, and Python drops an interrupt that
        # comes inside one of its own callbacks.
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    try:
        commands = program()
        if not ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        commands()
    except KeyboardInterrupt:  # while it was still loading, or already ending
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
