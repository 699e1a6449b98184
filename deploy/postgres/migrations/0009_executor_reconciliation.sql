-- What the reconciler has called: differences between the venue's account and the books, and open orders not ours.

CREATE TABLE executor.differences (
    account     text NOT NULL REFERENCES executor.accounts (account),
    number      bigint NOT NULL CHECK (number > 0),
    asset       text NOT NULL CHECK (asset <> ''),
    amount      numeric(56, 18) NOT NULL CHECK (amount <> 0),     -- at the venue, less in the books
    at_venue    numeric(56, 18) NOT NULL,
    in_books    numeric(56, 18) NOT NULL,
    detail      text NOT NULL,
    market_time timestamptz NOT NULL,
    called_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, number)
);

CREATE TABLE executor.foreign_orders (
    account         text NOT NULL REFERENCES executor.accounts (account),
    symbol          text NOT NULL,
    venue_order_id  text NOT NULL,
    client_order_id text NOT NULL,
    found_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, symbol, venue_order_id)
);
