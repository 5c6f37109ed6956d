"""`python -m trueline` is the command `trueline`."""

from trueline.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
