-- Suspense is signed: what is missing at a venue and nobody has borne yet is below zero. Nobody's own balance is.

ALTER TABLE ledger.balances
    DROP CONSTRAINT never_negative,
    ADD CONSTRAINT never_negative CHECK (amount >= 0 OR account LIKE 'venue:%' OR account LIKE 'suspense:%');

-- Funded, and not released since: a fill of a strategy that is not open goes to suspense.
ALTER TABLE ledger.strategies ADD COLUMN is_open boolean NOT NULL DEFAULT true;

UPDATE ledger.strategies s SET is_open = false WHERE EXISTS (
    SELECT FROM ledger.transfers r
    WHERE r.strategy_id = s.strategy_id AND r.purpose = 'release' AND r.state = 'posted' AND NOT EXISTS (
        SELECT FROM ledger.transfers f
        WHERE f.strategy_id = s.strategy_id AND f.purpose = 'fund' AND f.state = 'posted' AND f.settled_at > r.settled_at
    )
);
