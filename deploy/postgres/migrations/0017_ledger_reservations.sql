-- What open orders hold of their strategies' money: pending, then posted by fills or voided by the order's end.
--
-- reservations is the truth about how holds came and went, append-only; order_holds is what the ledger knows of each
-- order now, and can be computed from the executor's words, the journal's fills and the reservations.

CREATE TABLE ledger.order_holds (
    strategy_id     text NOT NULL CHECK (strategy_id <> ''),
    client_order_id text NOT NULL CHECK (client_order_id <> ''),
    venue           text NOT NULL,
    version         integer NOT NULL CHECK (version >= 0),  -- of the newest word on the order, 0: only fills are known
    is_open         boolean NOT NULL,                       -- by that word it may still trade
    may_take        jsonb NOT NULL,                         -- at most, as its intent said: {"USDT": "400"}
    taken           jsonb NOT NULL,                         -- by its posted fills
    held            jsonb NOT NULL,                         -- may_take - taken while it is open
    step            integer NOT NULL CHECK (step >= 0),     -- its newest movement in reservations
    PRIMARY KEY (strategy_id, client_order_id),
    CHECK (is_open OR held = '{}')
) WITH (fillfactor = 70);
CREATE INDEX order_holds_open ON ledger.order_holds (strategy_id) WHERE is_open;

CREATE TABLE ledger.reservations (
    strategy_id     text NOT NULL CHECK (strategy_id <> ''),
    client_order_id text NOT NULL CHECK (client_order_id <> ''),
    step            integer NOT NULL CHECK (step > 0),      -- counts an order's movements from 1
    phase           text NOT NULL CHECK (phase IN ('pending', 'posted', 'voided')),
    asset           text NOT NULL CHECK (asset <> ''),
    amount          numeric(56, 18) NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    version         integer NOT NULL CHECK (version > 0),   -- of the newest word on the order then
    sequence        bigint REFERENCES ledger.transactions (sequence),  -- of the fill that took it
    made_at         timestamptz NOT NULL,
    PRIMARY KEY (strategy_id, client_order_id, step),
    CHECK ((phase = 'posted') = (sequence IS NOT NULL))
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.reservations
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Orders filled before reservations were kept: their words may still come late.
INSERT INTO ledger.order_holds (strategy_id, client_order_id, venue, version, is_open, may_take, taken, held, step)
SELECT strategy_id, client_order_id, min(venue), 0, false, '{}', jsonb_object_agg(asset, amount::text), '{}', 0
FROM (
    SELECT t.strategy_id, t.request ->> 'client_order_id' AS client_order_id, min(t.venue) AS venue, took.asset,
           trim_scale(sum(took.amount)) AS amount
    FROM ledger.transactions t
    CROSS JOIN LATERAL (VALUES
        (CASE lower(t.request ->> 'side') WHEN 'buy' THEN t.request ->> 'quote' ELSE t.request ->> 'base' END,
         (CASE lower(t.request ->> 'side') WHEN 'buy' THEN t.request ->> 'quote_quantity'
          ELSE t.request ->> 'quantity' END)::numeric),
        (t.request ->> 'fee_asset', (t.request ->> 'fee')::numeric)
    ) took (asset, amount)
    WHERE t.kind = 'fill' AND took.amount > 0
    GROUP BY t.strategy_id, t.request ->> 'client_order_id', took.asset
) fills GROUP BY strategy_id, client_order_id;
