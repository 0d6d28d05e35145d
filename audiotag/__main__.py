"""`python -m audiotag COMMAND`."""

from audiotag.cli.commands import main

if __name__ == "__main__":
    main("python -m audiotag")
