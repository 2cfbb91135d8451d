"""The agent: its graph, its prompts, its model and what it keeps between turns."""
