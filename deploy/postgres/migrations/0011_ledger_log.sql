-- The proof: every journal entry is a leaf of a Merkle log (RFC 6962), and heads of the log are signed.
--
-- The entry with sequence n is leaf n - 1. Its leaf is written in the transaction that posts it, under the lock of
-- journal_head; entries from before this migration are added by the first transaction that posts or signs.

ALTER TABLE ledger.journal_head
    ADD COLUMN tree_size  bigint NOT NULL DEFAULT 0,
    -- The roots of the log's perfect subtrees, largest first: all that is needed to append.
    ADD COLUMN tree_peaks bytea NOT NULL DEFAULT '',
    ADD CONSTRAINT tree_within_journal CHECK (tree_size BETWEEN 0 AND sequence),
    ADD CONSTRAINT tree_peaks_of_size CHECK (octet_length(tree_peaks) = 32 * bit_count(tree_size::bit(64)));

-- The log's complete perfect subtrees of 2^level leaves; only every eighth level is kept, what lies between is computed
-- from at most 256 rows. Level 0: the leaves.
CREATE TABLE ledger.log_nodes (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 56 AND level % 8 = 0),
    place bigint NOT NULL CHECK (place >= 0),
    hash  bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, place)
);

-- What the heads are signed as: a name of this log only.
CREATE TABLE ledger.log_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    origin   text NOT NULL CHECK (origin <> '' AND origin !~ '[[:space:]+]')
);
INSERT INTO ledger.log_identity (origin) VALUES ('trimtab/' || gen_random_uuid());

-- Every key that has ever signed a head.
CREATE TABLE ledger.log_keys (
    key_id     text PRIMARY KEY,                -- SHA-256 of the public key, hexadecimal
    public_key bytea NOT NULL CHECK (octet_length(public_key) = 32),
    CHECK (key_id = encode(sha256(public_key), 'hex'))
);

CREATE TABLE ledger.tree_heads (
    number          bigint PRIMARY KEY CHECK (number > 0),
    -- Every head refers to the one before it: a gap cannot be inserted.
    previous_number bigint GENERATED ALWAYS AS (NULLIF(number - 1, 0)) STORED REFERENCES ledger.tree_heads (number),
    size            bigint NOT NULL UNIQUE CHECK (size > 0),
    root            bytea NOT NULL CHECK (octet_length(root) = 32),
    signed_at       timestamptz NOT NULL,       -- wall clock
    market_time     timestamptz NOT NULL,       -- the newest of any entry in the tree
    key_id          text NOT NULL REFERENCES ledger.log_keys (key_id),
    signature       bytea NOT NULL CHECK (octet_length(signature) = 64)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.log_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.log_identity
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.log_keys
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.tree_heads
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
