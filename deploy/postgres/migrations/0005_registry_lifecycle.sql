-- What may be asked of a strategy that runs: edits, pauses, money in and out, Auto-Invest; and failed releases.
-- Strategies that exist already have been asked for nothing yet; how they end has always been to sell.

ALTER TABLE registry.strategies
    DROP CONSTRAINT strategies_status_check,
    ADD CONSTRAINT strategies_status_check CHECK (
        status IN ('funding', 'building', 'active', 'paused', 'exiting', 'closed', 'refused', 'failed')
    ),

    -- `revision` rises with each edit of `document`; `changed_by` made the newest version ('' before this was kept).
    ADD COLUMN revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    ADD COLUMN changed_by text NOT NULL DEFAULT '',

    -- What it was asked to do, in order, and the money that the ledger was asked for and has not settled. Both are
    -- short lists that are read and written with the row: ids, kinds, stages, amounts as text.
    ADD COLUMN requests jsonb NOT NULL DEFAULT '[]'
        CHECK (jsonb_typeof(requests) = 'array' AND jsonb_array_length(requests) <= 20),
    ADD COLUMN transfers jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(transfers) = 'array'),

    -- How many there have ever been: ids of requests and transfers are functions of these.
    ADD COLUMN requests_made integer NOT NULL DEFAULT 0 CHECK (requests_made >= 0),
    ADD COLUMN funds_made integer NOT NULL DEFAULT 0 CHECK (funds_made >= 0),
    ADD COLUMN withdrawals_made integer NOT NULL DEFAULT 0 CHECK (withdrawals_made >= 0),
    ADD COLUMN releases_refused integer NOT NULL DEFAULT 0 CHECK (releases_refused >= 0),

    -- The one hold at the executor: plans are held off while money is paid out.
    ADD COLUMN hold_id text NOT NULL DEFAULT '',
    ADD COLUMN hold_stage text NOT NULL DEFAULT ''
        CHECK (hold_stage IN ('', 'asked', 'held', 'paying', 'freeing', 'freed')),
    ADD COLUMN hold_sequence integer NOT NULL DEFAULT 0 CHECK (hold_sequence >= 0),
    ADD COLUMN hold_fills integer NOT NULL DEFAULT 0 CHECK (hold_fills >= 0),
    ADD CONSTRAINT hold_whole CHECK ((hold_id = '') = (hold_stage = '')),

    -- How far Auto-Invest has come; kept when it is edited away, so that no cycle's number is used twice.
    ADD COLUMN auto_invest jsonb CHECK (jsonb_typeof(auto_invest) = 'object'),

    ADD COLUMN stop_action text NOT NULL DEFAULT 'sell' CHECK (stop_action IN ('sell', 'keep')),
    ADD COLUMN released_amounts jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(released_amounts) = 'object'),
    ADD COLUMN exit_prices jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(exit_prices) = 'object'),
    ADD COLUMN closing_figures jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(closing_figures) = 'object'),

    -- Money on its way is waited for before anything is returned.
    ADD CONSTRAINT nothing_on_its_way_at_the_end CHECK (
        exit_stage NOT IN ('releasing', 'blocked') OR jsonb_array_length(transfers) = 0
    );

CREATE INDEX strategies_held ON registry.strategies (created_at) WHERE hold_stage = 'held';
