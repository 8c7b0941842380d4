"""The commands of ``meanfield``, one a file: ``add_parser(subparsers) -> parser`` and ``main(options) -> status``.

A module here that has both is a command; nothing is registered. The name given to ``subparsers.add_parser`` is the
command's; `main` gets the parsed options and returns the exit status. What is heavy is imported inside `main`.
"""
