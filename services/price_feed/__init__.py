"""price_feed: one venue's quotes, guarded and conflated, as price frames and snapshots."""
