"""Networks of other libraries as cells, and back: all knowledge of their layouts."""
