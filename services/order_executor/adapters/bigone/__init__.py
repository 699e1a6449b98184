"""BigONE spot."""
