"""The commands of ``meanfield``, one a file: ``add_parser(subparsers) -> parser`` and ``main(options) -> exit status``.

The name given to ``subparsers.add_parser`` is the command's; `main` gets the parsed options. A module here that has both is a command; nothing is registered. Modules import what is heavy inside `main`.
"""
