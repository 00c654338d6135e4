"""What a sceptic runs: one script per claim. Each prints its table and fails if the claim fails."""
