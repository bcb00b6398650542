"""The command line for any service: ``python -m atomic_commit -A <module> …``."""
