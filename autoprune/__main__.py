"""`python -m autoprune`: the command line, where the script `autoprune` is not on the path."""

from autoprune.cli import main

if __name__ == "__main__":
    main()
