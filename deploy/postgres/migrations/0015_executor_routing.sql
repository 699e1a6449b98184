-- Orders on a direct pair, whose quote is not what the strategy is measured in: valued_in names that currency, and
-- quote_price is what one unit of the quote was worth in it when the intent was committed. Else '' and 1.
ALTER TABLE executor.orders
    ADD COLUMN valued_in text NOT NULL DEFAULT '',
    ADD COLUMN quote_price numeric(56, 18) NOT NULL DEFAULT 1 CHECK (quote_price > 0 AND quote_price < 'Infinity'),
    ADD CHECK (valued_in <> '' OR quote_price = 1),
    ADD CHECK (valued_in <> quote);
