-- Holds: a strategy takes no plans while money is taken out of it, and afterwards only plans that know of it.

ALTER TABLE executor.strategies
    ADD COLUMN hold_requested    text NOT NULL DEFAULT '',    -- no plan is taken while it is not ''
    ADD COLUMN held_for          text NOT NULL DEFAULT '',    -- the same once no plan is open and it was told
    ADD COLUMN position_required bigint NOT NULL DEFAULT 0
        CONSTRAINT strategies_position_required_check CHECK (position_required >= 0),
    ADD CONSTRAINT strategies_held_check CHECK (held_for IN ('', hold_requested));

-- Every hold that has ended, for good: its command may be delivered again at any time, also after months, and must not
-- hold the strategy again. One small row per withdrawal.
CREATE TABLE executor.ended_holds (
    strategy_id text NOT NULL REFERENCES executor.strategies (strategy_id),
    hold_id     text NOT NULL CHECK (hold_id <> ''),
    ended_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (strategy_id, hold_id)
);
