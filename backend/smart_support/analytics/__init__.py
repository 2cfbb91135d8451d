"""What became of the conversations, in numbers: derived from the log, and derivable again."""
