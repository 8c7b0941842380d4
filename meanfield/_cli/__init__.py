"""The commands of ``meanfield``, one a file: ``add_parser(subparsers)`` and ``main(options) -> exit status``.

A module here that has both is a command; nothing is registered. Modules import what is heavy inside `main`.
"""
