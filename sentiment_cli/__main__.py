"""`python -m sentiment_cli` is the command `sentiment`."""

from sentiment_cli.cli import main

if __name__ == "__main__":
    main()
