"""One module per published figure: ``Config``, ``compute``, ``draw``, ``claims`` (see `meanfield.gallery`)."""

__project__ = "meanfield-nets"
