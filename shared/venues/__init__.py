"""The venue port and what is known of each dialect, as data."""
