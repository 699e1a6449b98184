-- Results: what follows from the journal for people. A projection that follows the journal; all of it can be rebuilt.

-- Prices the ledger has seen, kept because results depend on them: recorded after the entry `sequence` was projected.
-- A regular mark comes once per interval of market time and values every strategy; the others value one flow.
CREATE TABLE ledger.marks (
    mark_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue       text NOT NULL CHECK (venue <> ''),
    sequence    bigint NOT NULL CHECK (sequence >= 0),
    regular     boolean NOT NULL,
    market_time timestamptz NOT NULL,
    prices      jsonb NOT NULL      -- bid in the quote currency, exact text: {"BTC": "40000"}
);
CREATE INDEX marks_by_place ON ledger.marks (venue, sequence, mark_id);
CREATE INDEX marks_by_time ON ledger.marks (venue, market_time);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.marks
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE SCHEMA ledger_results;

-- How far the projection has come. Written in the transaction of all that it has computed.
CREATE TABLE ledger_results.checkpoint (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence bigint NOT NULL CHECK (sequence >= 0)
);
INSERT INTO ledger_results.checkpoint (sequence) VALUES (0);

-- The venue's clock: the newest market time of the entries so far, so that it never goes backwards with the journal.
CREATE TABLE ledger_results.clocks (
    venue       text PRIMARY KEY,
    market_time timestamptz NOT NULL
);

-- What an account held after an entry, at the venue's clock: one look in the index answers for any time.
CREATE TABLE ledger_results.balances (
    account  text NOT NULL,
    asset    text NOT NULL,
    at       timestamptz NOT NULL,
    sequence bigint NOT NULL,
    amount   numeric(56, 18) NOT NULL,
    PRIMARY KEY (account, asset, at, sequence) INCLUDE (amount)  -- answered from the index alone
);

CREATE TABLE ledger_results.strategies (
    strategy_id text PRIMARY KEY,
    venue       text NOT NULL,
    is_holding  boolean NOT NULL,   -- it holds something: regular marks value it
    state       jsonb NOT NULL      -- services/ledger/results.py: StrategyResults
);
CREATE INDEX strategies_holding ON ledger_results.strategies (venue) WHERE is_holding;

CREATE TABLE ledger_results.lots (
    strategy_id     text NOT NULL,
    method          text NOT NULL CHECK (method IN ('fifo', 'lifo', 'hifo', 'average')),
    asset           text NOT NULL,
    number          bigint NOT NULL,
    quantity        numeric(56, 18) NOT NULL CHECK (quantity > 0),
    cost            numeric(56, 18) NOT NULL,
    opened_quantity numeric(56, 18) NOT NULL,
    opened_cost     numeric(56, 18) NOT NULL,
    opened_at       timestamptz NOT NULL,
    opened_by       text NOT NULL,
    PRIMARY KEY (strategy_id, method, asset, number)
);

-- What was realised, piece by piece: by sales, fees, and what was taken out.
CREATE TABLE ledger_results.closings (
    strategy_id text NOT NULL,
    method      text NOT NULL CHECK (method IN ('fifo', 'lifo', 'hifo', 'average')),
    sequence    bigint NOT NULL,
    asset       text NOT NULL,
    piece       integer NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('sale', 'fee', 'payout')),
    quantity    numeric(56, 18) NOT NULL,
    cost        numeric(56, 18) NOT NULL,
    proceeds    numeric(56, 18) NOT NULL,
    opened_at   timestamptz,
    opened_by   text NOT NULL,
    closed_at   timestamptz NOT NULL,
    closed_by   text NOT NULL,
    PRIMARY KEY (strategy_id, method, sequence, asset, piece)
);

-- Money put in (above zero) and taken out, with what the strategy was worth just before, in the quote currency.
CREATE TABLE ledger_results.flows (
    strategy_id  text NOT NULL,
    sequence     bigint NOT NULL,
    at           timestamptz NOT NULL,
    amount       numeric(56, 18) NOT NULL,
    value_before numeric NOT NULL,
    PRIMARY KEY (strategy_id, sequence)
);

-- Value and weights at every regular mark.
CREATE TABLE ledger_results.snapshots (
    strategy_id text NOT NULL,
    at          timestamptz NOT NULL,
    mark_id     bigint NOT NULL,
    value       numeric NOT NULL,
    put_in      numeric NOT NULL,
    taken_out   numeric NOT NULL,
    basket      numeric NOT NULL,    -- what the initial basket would be worth, with the same flows
    growth      numeric NOT NULL,    -- time-weighted return so far, as a fraction
    weights     jsonb NOT NULL,      -- percent: {"BTC": "49.8"}
    PRIMARY KEY (strategy_id, at, mark_id)
);
