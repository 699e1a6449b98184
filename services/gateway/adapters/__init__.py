"""Where the gateway touches the outside: commands to the registry, streams, paper faucets."""
