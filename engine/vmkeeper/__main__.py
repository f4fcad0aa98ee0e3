"""`python -m vmkeeper` is the command line."""

from vmkeeper.cli.app import main

main()
