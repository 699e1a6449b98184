-- What users want: strategies with their whole history, previews, and the replies already given to commands.

CREATE SCHEMA registry;

-- A checked definition that may be confirmed until `expires_at`. `reply` is the StrategyPreviewed that the user saw.
CREATE TABLE registry.previews (
    id text PRIMARY KEY,
    document jsonb NOT NULL,
    reply jsonb NOT NULL,
    funding_value numeric(56, 18) NOT NULL CHECK (funding_value > 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX previews_by_expiry ON registry.previews (expires_at);

-- The newest state of each strategy (the columns up to `inputs` are what StrategyChanged says) and, below, the facts
-- learned from the other services. Facts only ever become true, so the order in which they arrive does not matter.
CREATE TABLE registry.strategies (
    id text PRIMARY KEY,
    preview_id text NOT NULL UNIQUE,
    venue text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    change text NOT NULL,
    status text NOT NULL
        CHECK (status IN ('funding', 'building', 'active', 'exiting', 'closed', 'refused')),
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    active_since timestamptz,
    exit_reason text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    inputs jsonb NOT NULL DEFAULT '{}',
    exit_stage text NOT NULL DEFAULT ''
        CHECK (exit_stage IN ('', 'selling', 'sealing', 'releasing', 'blocked')),
    funded boolean,
    funding_refusal text NOT NULL DEFAULT '',
    stop_reason text NOT NULL DEFAULT '',
    stop_inputs jsonb NOT NULL DEFAULT '{}',
    initial_closed_at timestamptz,
    exit_sold boolean NOT NULL DEFAULT false,
    sealed_fills integer CHECK (sealed_fills >= 0),
    released boolean,
    release_refusal text NOT NULL DEFAULT ''
);

-- Every StrategyChanged there ever was. Append-only.
CREATE TABLE registry.strategy_versions (
    strategy_id text NOT NULL REFERENCES registry.strategies (id),
    version integer NOT NULL CHECK (version > 0),
    change text NOT NULL,
    status text NOT NULL,
    state jsonb NOT NULL,
    causation_id text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (strategy_id, version)
);

CREATE FUNCTION registry.refuse_rewriting_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'registry.strategy_versions is append-only';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.strategy_versions
    FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_rewriting_history();

-- The reply to each command by its id: a repeated command gets the same reply and changes nothing.
-- `json`, not `jsonb`: a refusal quotes what was sent, and jsonb cannot hold every character a user can send.
CREATE TABLE registry.commands (
    message_id text PRIMARY KEY,
    digest text NOT NULL,
    reply_type text,
    reply json,
    received_at timestamptz NOT NULL
);
CREATE INDEX commands_by_age ON registry.commands (received_at);

CREATE TABLE registry.outbox (
    id bigserial PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    subject text NOT NULL,
    headers jsonb NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON registry.outbox (id) WHERE published_at IS NULL;
