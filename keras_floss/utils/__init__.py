"""What several rooms need, and what knows nothing of the others."""
