"""`python -m llgen` is the command `llgen`."""

from llgen.codegen.cli import main

main()
