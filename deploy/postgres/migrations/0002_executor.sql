-- The executor: order intents and what became of them. An intent is committed before anything is sent to a venue.
--
-- Amounts: NUMERIC(56, 18), exact. Every writer locks the strategy's row first: fills are numbered without gaps, events
-- of one strategy leave the outbox in their order, deadlocks are impossible.

CREATE SCHEMA executor;

-- One writer per venue account. The epoch rises with every change of the writer and is checked, under a lock, in the
-- transaction that commits an intent: a writer that lost its lease can commit nothing.
CREATE TABLE executor.accounts (
    account     text PRIMARY KEY CHECK (account <> ''),
    epoch       bigint NOT NULL CHECK (epoch > 0),
    holder      text NOT NULL,
    lease_until timestamptz NOT NULL,
    opened_at   timestamptz                       -- when its opening balances were taken; NULL: never connected
);

CREATE TABLE executor.strategies (
    strategy_id         text PRIMARY KEY CHECK (strategy_id <> ''),
    venue               text NOT NULL,
    sequence            bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),        -- PlanProgressed published so far
    fills_total         bigint NOT NULL DEFAULT 0 CHECK (fills_total >= 0),
    last_closed_plan_id text NOT NULL DEFAULT '',
    last_closed         jsonb,                                                  -- PlanClosedSummary
    seal_requested      boolean NOT NULL DEFAULT false,
    sealed              boolean NOT NULL DEFAULT false,
    CHECK (seal_requested OR NOT sealed)
) WITH (fillfactor = 70);

CREATE TABLE executor.plans (
    plan_id          text PRIMARY KEY CHECK (plan_id <> ''),
    strategy_id      text NOT NULL REFERENCES executor.strategies (strategy_id),
    position_version bigint NOT NULL,
    previous_plan_id text NOT NULL,
    body             jsonb NOT NULL,              -- RebalancePlanned as it came
    message_id       text NOT NULL,
    sizing           jsonb,                       -- {"cycle": 0, "prices": {"BTC": "50000"}}: what sizes are measured by
    outcome          text,                        -- NULL while open
    detail           text NOT NULL DEFAULT '',
    accepted_at      timestamptz NOT NULL DEFAULT now(),
    closed_at        timestamptz,
    UNIQUE (strategy_id, position_version, previous_plan_id),
    CHECK ((outcome IS NULL) = (closed_at IS NULL))
);
CREATE UNIQUE INDEX plans_one_open ON executor.plans (strategy_id) WHERE outcome IS NULL;

CREATE TABLE executor.orders (
    client_order_id text PRIMARY KEY CHECK (client_order_id <> ''),
    plan_id         text NOT NULL REFERENCES executor.plans (plan_id),
    strategy_id     text NOT NULL REFERENCES executor.strategies (strategy_id),
    account         text NOT NULL REFERENCES executor.accounts (account),
    epoch           bigint NOT NULL,
    round           integer NOT NULL CHECK (round >= 0),
    asset           text NOT NULL,
    quote           text NOT NULL,
    symbol          text NOT NULL,
    side            text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    quantity        numeric(56, 18) NOT NULL CHECK (quantity > 0 AND quantity < 'Infinity'),
    limit_price     numeric(56, 18) NOT NULL CHECK (limit_price > 0 AND limit_price < 'Infinity'),
    send_deadline   timestamptz NOT NULL,         -- never sent after this
    state           text NOT NULL CHECK (state IN ('intended', 'withheld', 'unknown', 'open', 'filled',
                                                   'partially_filled', 'unfilled', 'rejected', 'absent')),
    version         integer NOT NULL DEFAULT 1 CHECK (version > 0),
    venue_order_id  text NOT NULL DEFAULT '',
    filled_quantity numeric(56, 18) NOT NULL DEFAULT 0 CHECK (filled_quantity >= 0),
    detail          text NOT NULL DEFAULT '',
    was_unknown     boolean NOT NULL DEFAULT false,
    intended_at     timestamptz NOT NULL DEFAULT now(),
    changed_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (plan_id, round, symbol, side)
) WITH (fillfactor = 70);
CREATE INDEX orders_unsettled ON executor.orders (account) WHERE state IN ('intended', 'unknown', 'open');
CREATE INDEX orders_by_venue_order ON executor.orders (symbol, venue_order_id) WHERE venue_order_id <> '';

-- Every trade once, whatever source told of it and however often.
CREATE TABLE executor.fills (
    venue           text NOT NULL,
    trade_id        text NOT NULL,                -- "<symbol>:<venue's id>"
    client_order_id text NOT NULL REFERENCES executor.orders (client_order_id),
    plan_id         text NOT NULL REFERENCES executor.plans (plan_id),
    strategy_id     text NOT NULL REFERENCES executor.strategies (strategy_id),
    fill_number     bigint NOT NULL CHECK (fill_number > 0),
    quantity        numeric(56, 18) NOT NULL CHECK (quantity > 0 AND quantity < 'Infinity'),
    price           numeric(56, 18) NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    quote_quantity  numeric(56, 18) NOT NULL CHECK (quote_quantity > 0 AND quote_quantity < 'Infinity'),
    fee             numeric(56, 18) NOT NULL CHECK (fee >= 0 AND fee < 'Infinity'),
    fee_asset       text NOT NULL,
    market_time     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    PRIMARY KEY (venue, trade_id),
    UNIQUE (strategy_id, fill_number)
);
CREATE INDEX fills_by_plan ON executor.fills (plan_id);
CREATE INDEX fills_by_order ON executor.fills (client_order_id);

CREATE TABLE executor.deposits (
    account     text NOT NULL REFERENCES executor.accounts (account),
    deposit_id  text NOT NULL,
    asset       text NOT NULL,
    amount      numeric(56, 18) NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    market_time timestamptz NOT NULL,
    in_opening  boolean NOT NULL,                 -- contained in an opening balance: not announced again
    observed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, deposit_id)
);

CREATE TABLE executor.outbox (
    id           bigserial PRIMARY KEY,
    message_id   text UNIQUE NOT NULL,
    subject      text NOT NULL,
    headers      jsonb NOT NULL,
    payload      bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON executor.outbox (id) WHERE published_at IS NULL;
