"""Steps in order: what a tick, a resident runner and a fire do. No rule of their own."""
