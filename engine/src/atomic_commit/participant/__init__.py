"""A service that takes part: prepare, commit and roll back its branches. Knows no coordinator and no journal."""
