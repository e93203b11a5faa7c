"""Commands that stand in for the other side: a receiver and a load generator."""
