"""What operators and accounts do: one function an action, with its audit row. CLI, API and pages call it."""
