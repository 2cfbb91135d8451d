"""Smart Support: customer support whose tool calls can be trusted."""

__version__ = "0.1.0"
