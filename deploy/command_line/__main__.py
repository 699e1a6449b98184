"""`trimtab`: the program. Each group of commands is a module of its own."""

import typer

from deploy.command_line import demo, events, stack, strategy, wallet

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
app.add_typer(events.app, name="events")


def main() -> None:
    """The entry point of the command `trimtab`."""
    app()


if __name__ == "__main__":
    main()
