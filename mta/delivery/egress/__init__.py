"""Where mail leaves: sources (our addresses), pools of them, and paths (a source and a site) with their limits."""
