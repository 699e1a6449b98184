"""The demonstration: paper money, example strategies, a replayed or synthetic market, a live view, a report."""
