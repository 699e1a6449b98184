# Everything one does with Trimtab, from a checkout. `just` (or `uv run just`) lists the recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

secrets := "TRIMTAB_NATS_PASSWORD TRIMTAB_NATS_PASSWORD_PRICE_FEED TRIMTAB_NATS_PASSWORD_STRATEGY_REGISTRY TRIMTAB_NATS_PASSWORD_STRATEGY_EVALUATOR TRIMTAB_NATS_PASSWORD_ORDER_EXECUTOR TRIMTAB_NATS_PASSWORD_LEDGER TRIMTAB_NATS_PASSWORD_GATEWAY TRIMTAB_NATS_PASSWORD_AUDITOR TRIMTAB_POSTGRES_PASSWORD TRIMTAB_POSTGRES_PASSWORD_STRATEGY_REGISTRY TRIMTAB_POSTGRES_PASSWORD_ORDER_EXECUTOR TRIMTAB_POSTGRES_PASSWORD_LEDGER TRIMTAB_POSTGRES_PASSWORD_AUDITOR TRIMTAB_API_TOKEN TRIMTAB_EXCHANGE_API_KEY TRIMTAB_EXCHANGE_API_SECRET TRIMTAB_EXCHANGE_CONTROL_TOKEN"

[private]
default:
    @just --list --unsorted

[doc('Run the demo: the whole system on this machine, on paper, shown live (Ctrl-C ends it)')]
[group('run')]
demo *ARGS:
    uv run trimtab demo {{ ARGS }}

[doc('Start the whole system on this machine on its durable data folder')]
[group('run')]
up *ARGS:
    uv run trimtab up {{ ARGS }}

[doc('Show what runs')]
[group('run')]
status *ARGS:
    uv run trimtab status {{ ARGS }}

[doc('End what `up` started')]
[group('run')]
down *ARGS:
    uv run trimtab down {{ ARGS }}

[doc('Run the tests, on real NATS and Postgres servers, three files at a time; ARGS go to pytest')]
[group('quality')]
test *ARGS:
    uv run pytest -n 3 --dist loadfile --no-loadscope-reorder {{ ARGS }}

[doc('Run the tests with new random cases in the property tests; ARGS go to pytest')]
[group('quality')]
explore *ARGS:
    uv run pytest --hypothesis-profile explore -n 3 --dist loadfile --no-loadscope-reorder {{ ARGS }}

[doc('Run every strategy file of the tests twice over a price file, in lockstep: the reports must be equal')]
[group('quality')]
check-replay FILE *ARGS:
    uv run python -m tests.end_to_end.check_replay --prices {{ FILE }} {{ ARGS }}

[doc('Check what must hold: format, lint, types, import rules, layout rules')]
[group('quality')]
check:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy
    uv run lint-imports
    uv run pytest -q tests/repository

[doc('Compare the drift index with brute force over 100 million strategy-ticks of every rule (minutes)')]
[group('quality')]
check-index *ARGS:
    uv run python -m tests.core.index_soak {{ ARGS }}

[doc('Death before and after every await and commit of executor and ledger (minutes); --each: at every point by itself')]
[group('quality')]
check-deaths *ARGS:
    uv run python -m tests.chaos.deaths.check_deaths {{ ARGS }}

[doc('Freeze the executor for up to a minute at random moments while another takes over (ten minutes)')]
[group('quality')]
check-freezes *ARGS:
    uv run python -m tests.services.order_executor.check_freezes {{ ARGS }}

[doc('5,000 orders for each ambiguous reply under each rule set for client order ids (hours); --cases N for fewer')]
[group('quality')]
check-orders *ARGS:
    uv run python -m tests.services.order_executor.check_orders {{ ARGS }}

[doc('Put 100,000 fills through the ledger, compute everything again and compare (minutes)')]
[group('quality')]
check-books *ARGS:
    uv run python -m tests.services.ledger.books_soak {{ ARGS }}

[doc('Bring the sources into their format')]
[group('quality')]
fmt:
    uv run ruff format .
    uv run ruff check --fix .

[doc('Write what is generated from the sources: the rights of the users of NATS, the descriptions of the events')]
[group('quality')]
docs:
    uv run python -m deploy.documents

[doc('Measure: ticks per second and latencies; ARGS go to every benchmark (--json)')]
[group('quality')]
bench *ARGS:
    for file in tests/benchmarks/[a-z]*.py; do uv run python -m "tests.benchmarks.$(basename "$file" .py)" {{ ARGS }}; done

[doc('Write .env with fresh secrets for compose; those it has already stay')]
[group('compose')]
compose-env:
    umask 077 && touch .env && chmod 600 .env && for name in {{ secrets }}; do grep -q "^$name=" .env || \
        echo "$name=$(python3 -c 'import secrets; print("t" + secrets.token_hex(24))')" >> .env; done

[doc('Build the images and start the system in containers; ARGS go to compose (--scale strategy-evaluator=3)')]
[group('compose')]
compose-up *ARGS: compose-env
    docker compose up --build --detach {{ ARGS }}

[doc('Show the containers')]
[group('compose')]
compose-ps:
    docker compose ps

[doc('Show what the containers log; ARGS go to compose (--follow ledger)')]
[group('compose')]
compose-logs *ARGS:
    docker compose logs {{ ARGS }}

[doc('Stop the containers and keep the data; ARGS go to compose (--volumes forgets the data too)')]
[group('compose')]
compose-down *ARGS:
    docker compose down {{ ARGS }}
