-- What the venue is sent for an intent: a limit order that ends at once, a market order, or one that only rests.
ALTER TABLE executor.orders ADD COLUMN kind text NOT NULL DEFAULT 'ioc' CHECK (kind IN ('ioc', 'market', 'maker'));
