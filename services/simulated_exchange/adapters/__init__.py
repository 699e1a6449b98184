"""Where the venue's state is kept."""
