-- The kill switch, what the guards on the send path count by, and a venue's ban.

-- One row per venue, made when its executor starts. It is locked (FOR SHARE) by every transaction that commits an
-- intent or takes a plan: once a halt is committed, nothing that was not committed before it can be.
CREATE TABLE executor.halts (
    venue      text PRIMARY KEY CHECK (venue <> ''),
    sequence   bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),      -- HaltChanged published so far
    halted     boolean NOT NULL DEFAULT false,
    cause      text NOT NULL DEFAULT 'asked' CHECK (cause IN ('asked', 'guards')),
    reason     text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- The market's day of an order (NULL: older than this column): what the daily limit counts by.
ALTER TABLE executor.orders ADD COLUMN market_day date;
CREATE INDEX orders_by_market_day ON executor.orders (account, market_day);
CREATE INDEX orders_by_intent ON executor.orders (account, intended_at);

-- No request may reach the venue for this account before that time: its word on a ban outlives our restarts.
ALTER TABLE executor.accounts ADD COLUMN silent_until timestamptz;
