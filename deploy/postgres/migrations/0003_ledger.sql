-- The ledger: an append-only journal of double-entry postings, and what follows from it.
--
-- transactions and postings are the truth; balances, strategies and venues can be recomputed from them at any time.
-- Amounts: NUMERIC(56, 18), exact: 38 digits before the point, 18 decimals.

CREATE SCHEMA ledger;

-- The end of the journal. Whoever posts locks this one row first: sequences are gap-free, postings serial, deadlocks
-- impossible. posted_at never goes backwards, so that "as of" is the same by sequence and by time.
CREATE TABLE ledger.journal_head (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence  bigint NOT NULL CHECK (sequence >= 0),
    posted_at timestamptz NOT NULL
);
INSERT INTO ledger.journal_head (sequence, posted_at) VALUES (0, 'epoch');

CREATE TABLE ledger.transactions (
    sequence          bigint PRIMARY KEY CHECK (sequence > 0),
    -- Every entry refers to the one before it: a gap cannot be inserted.
    previous_sequence bigint GENERATED ALWAYS AS (NULLIF(sequence - 1, 0)) STORED
                      REFERENCES ledger.transactions (sequence),
    transaction_id    text NOT NULL UNIQUE CHECK (transaction_id <> ''),
    kind              text NOT NULL CHECK (kind ~ '^[a-z_]{1,32}$'),
    venue             text NOT NULL CHECK (venue <> ''),
    strategy_id       text NOT NULL,            -- '' when no strategy takes part
    market_time       timestamptz NOT NULL,     -- the venue's clock
    received_at       timestamptz NOT NULL,     -- when Trimtab first knew (wall clock)
    posted_at         timestamptz NOT NULL,     -- when it was posted (wall clock, never backwards)
    message_id        text NOT NULL,            -- the message that led to it
    correlation_id    text NOT NULL,
    digest            bytea NOT NULL CHECK (octet_length(digest) = 32),  -- of the content that a repeat must equal
    request_type      text NOT NULL,
    request           jsonb NOT NULL            -- the message itself: prices, order and plan ids, value in USDT
);
CREATE INDEX transactions_by_strategy ON ledger.transactions (strategy_id, sequence) WHERE strategy_id <> '';

CREATE TABLE ledger.postings (
    sequence    bigint NOT NULL REFERENCES ledger.transactions (sequence),
    line        smallint NOT NULL CHECK (line > 0),
    source      text NOT NULL CHECK (source <> ''),
    destination text NOT NULL CHECK (destination <> ''),
    asset       text NOT NULL CHECK (asset <> ''),
    amount      numeric(56, 18) NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    PRIMARY KEY (sequence, line),
    CHECK (source <> destination)
);

CREATE TABLE ledger.balances (
    account text NOT NULL,
    asset   text NOT NULL,
    amount  numeric(56, 18) NOT NULL,
    PRIMARY KEY (account, asset),
    CONSTRAINT never_negative CHECK (amount >= 0 OR account LIKE 'venue:%')
) WITH (fillfactor = 70);

CREATE TABLE ledger.strategies (
    strategy_id    text PRIMARY KEY CHECK (strategy_id <> ''),
    venue          text NOT NULL,
    version        bigint NOT NULL CHECK (version > 0),          -- transactions that touched it
    fills_posted   bigint NOT NULL CHECK (fills_posted >= 0),
    contributed    numeric(56, 18) NOT NULL CHECK (contributed >= 0),     -- put in and not taken out, in USDT
    contributed_in numeric(56, 18) NOT NULL CHECK (contributed_in >= 0),  -- ever put in, in USDT
    fees           jsonb NOT NULL                                -- paid so far: {"BTC": "0.001"}
) WITH (fillfactor = 70);

CREATE TABLE ledger.venues (
    venue          text PRIMARY KEY,
    wallet_version bigint NOT NULL CHECK (wallet_version >= 0),  -- transactions that touched the wallet
    market_time    timestamptz NOT NULL                          -- newest seen
) WITH (fillfactor = 70);

-- Transfer commands and how they ended; a waiting release ends with the fill it waits for.
CREATE TABLE ledger.transfers (
    transfer_id    text PRIMARY KEY CHECK (transfer_id <> ''),
    purpose        text NOT NULL CHECK (purpose IN ('fund', 'release')),
    venue          text NOT NULL,
    strategy_id    text NOT NULL,
    digest         bytea NOT NULL CHECK (octet_length(digest) = 32),
    state          text NOT NULL CHECK (state IN ('waiting', 'posted', 'refused')),
    reason         text NOT NULL,
    amounts        jsonb NOT NULL,
    message_id     text NOT NULL,
    correlation_id text NOT NULL,
    received_at    timestamptz NOT NULL,
    request        jsonb NOT NULL,
    sequence       bigint REFERENCES ledger.transactions (sequence),  -- none when refused or nothing was held
    settled_at     timestamptz,
    CHECK ((state = 'waiting') = (settled_at IS NULL))
);
CREATE INDEX transfers_waiting ON ledger.transfers (strategy_id) WHERE state = 'waiting';

CREATE TABLE ledger.outbox (
    id           bigserial PRIMARY KEY,
    message_id   text UNIQUE NOT NULL,
    subject      text NOT NULL,
    headers      jsonb NOT NULL,
    payload      bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON ledger.outbox (id) WHERE published_at IS NULL;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.transactions
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.postings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Postings come after their transaction in the same database transaction; a transaction may not stay without.
CREATE FUNCTION ledger.require_postings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.postings WHERE sequence = NEW.sequence) THEN
        RAISE EXCEPTION 'transaction % (%) has no postings', NEW.sequence, NEW.transaction_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER has_postings AFTER INSERT ON ledger.transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger.require_postings();
