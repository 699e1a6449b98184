"""The independent auditor: checks the journal and its proof, and shares nothing with who writes them but the hashes."""
