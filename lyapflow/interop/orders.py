"""Gates of recurrent networks as letters, in the order and under the names of each program."""

# what a gate is called elsewhere, by the gates of a cell: an LSTM's candidate is c or j, a GRU's h, its update gate u
ALIASES = {
    "ifgo": {"c": "g", "j": "g"},
    "rzn": {"h": "n", "c": "n", "u": "z"},
}


def in_our_letters(order: str, gates: str) -> str:
    """An order of gates by the names that a cell's gates have here."""
    other = ALIASES.get(gates, {})
    return "".join(other.get(letter, letter) for letter in order.lower())
