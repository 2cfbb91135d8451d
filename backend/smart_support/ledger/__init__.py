"""What was asked of the outside world, who allowed it, and what became of it."""
