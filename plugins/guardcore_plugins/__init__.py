"""GuardCore's built-in plugins: found through entry points, like anybody else's."""
