"""An experiment described in a TOML file: settings, what they build, the folder of results, summary and pictures.

``settings`` reads and checks the file, ``build`` makes data, network, objective, start and flow of it, ``folder``
guards the results, ``summary`` and ``pictures`` say what came out. ``meanfield run`` is the command over them.
"""
