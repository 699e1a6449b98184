-- Money taken out of a running strategy: transfers of a third purpose, and the worth of all that was ever paid out.

ALTER TABLE ledger.strategies
    ADD COLUMN withdrawn numeric(56, 18) NOT NULL DEFAULT 0
        CONSTRAINT strategies_withdrawn_check CHECK (withdrawn >= 0);    -- ever paid out by withdrawals, in USDT

ALTER TABLE ledger.transfers
    DROP CONSTRAINT transfers_purpose_check,
    ADD CONSTRAINT transfers_purpose_check CHECK (purpose IN ('fund', 'withdraw', 'release'));
