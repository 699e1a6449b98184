-- The highest profit an active strategy has had: a take-profit or stop-loss that trails counts from it.
-- Percent of the money put in then (in the quote currency), both or neither. It only ever rises.

ALTER TABLE registry.strategies
    ADD COLUMN peak_profit_pct numeric,
    ADD COLUMN peak_contributed numeric(56, 18),
    ADD CONSTRAINT peak_whole CHECK ((peak_profit_pct IS NULL) = (peak_contributed IS NULL));
