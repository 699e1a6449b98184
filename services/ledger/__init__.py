"""The ledger: posts every movement of money once, as double entry, and tells what everybody holds."""
