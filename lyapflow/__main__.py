"""``python -m lyapflow`` is the command ``lyapflow``."""

from lyapflow.cli import main

if __name__ == "__main__":
    main()
