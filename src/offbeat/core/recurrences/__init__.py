"""Recurrences: when something is due. Texts to due times and back, zones, exclusions; knows no entry, tree or ledger."""
