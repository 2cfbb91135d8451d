"""Who is asking, in which role, and how a token proves it."""
