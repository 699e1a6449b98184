-- What the venue is sent for an intent: a limit order that ends at once, a market order, or one that only rests.
ALTER TABLE executor.orders ADD COLUMN kind text NOT NULL DEFAULT 'ioc' CHECK (kind IN ('ioc', 'market', 'maker'));

-- A fill with what its order says of it.
CREATE VIEW executor.booked_fills AS
SELECT f.strategy_id, f.fill_number, f.trade_id, f.client_order_id, o.asset, o.quote, o.side, f.quantity,
       f.quote_quantity, f.fee, f.fee_asset, f.market_time
FROM executor.fills f JOIN executor.orders o USING (client_order_id);
