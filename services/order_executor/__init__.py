"""The order executor: turns plans into orders at one venue account, each sent at most once, each fill booked once."""
