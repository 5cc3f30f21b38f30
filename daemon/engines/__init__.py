"""What a child looks like to its session: kind ``worker`` (lives between turns) and ``command`` (one a turn)."""
