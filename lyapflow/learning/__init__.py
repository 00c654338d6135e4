"""Learning: tasks, losses and their gradients, Adam, flossing and training."""
