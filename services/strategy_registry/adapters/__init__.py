"""Where the registry touches the outside: Postgres and the last-value streams."""
