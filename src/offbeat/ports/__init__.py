"""The world: one small Protocol each, with its adapters and its in-memory twin beside it."""
