"""`python -m pingraph`: the command line, for where the script is not on the path."""

from pingraph.cli import main

if __name__ == "__main__":  # workers that are spawned import this file too
    main()
