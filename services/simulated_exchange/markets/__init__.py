"""Where prices come from: a seeded synthetic market, or a file of recorded prices."""
