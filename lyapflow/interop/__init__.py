"""Networks of other libraries as cells, and back: what is known here of their layouts."""
