"""Cells: one step of a recurrent network, its Jacobian and their adjoints, without time."""
